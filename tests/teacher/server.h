/* tests/teacher/server.h - a small HTTP server of ours on 127.0.0.1, an ephemeral port, that does what a script says: answers, waits, breaks. For tests.
 * One thread, poll(2). A request's answer is chosen by a callback, which sees its number (from 0, in order of arrival) and its body. */
#ifndef KD_TESTS_TEACHER_SERVER_H
#define KD_TESTS_TEACHER_SERVER_H

#include <stdbool.h>
#include <stddef.h>

typedef struct {
    int status;          /* 0: 200 */
    const char *headers; /* lines more, each ended by \r\n; Content-Type: application/json unless it names one */
    char *body;          /* from malloc; freed by the server; NULL: none */
    size_t length;       /* of body, where it holds NULs; 0: up to the first */
    int delay_ms;        /* before the first byte */
    size_t cut;          /* this many bytes of the body, then .end; 0: all of it */
    enum {
        END_WELL,
        END_RESET,
        END_CLOSE,
        END_HALF,
        END_STALL
    } end;          /* after all or the cut: keep alive; RST; FIN; FIN, but go on reading; say nothing more */
    bool no_answer; /* not even a status line: .end at once (after the delay) */
    size_t pieces;  /* write the body so many bytes at a time, as a chunked stream; 0: at once, with Content-Length */
} reply;

typedef struct {
    int number;
    const char *body, *head; /* of the request, NUL-terminated */
} request;

typedef void answer_fn(void *ctx, const request *q, reply *a);

typedef struct server server;
server *server_start(answer_fn *f, void *ctx); /* f is called on the server's thread */
int server_port(const server *s);
const char *server_url(const server *s); /* "http://127.0.0.1:PORT/v1" */
int server_requests(server *s);          /* that arrived whole */
int server_most(server *s);              /* that were being answered at one time, at most */
void server_stop(server *s);             /* also frees */

/* A completion that says text, with usage. */
char *completion(const char *text, int prompt_tokens, int completion_tokens);
char *copy_of(const char *text);

#endif
