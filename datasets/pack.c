/* datasets/pack.c - best-fit packing. Leans on pack.h.
 * Rows with room are held in a segment tree over the room left: finding the fullest row that still has room for a lesson, and of equals the
 * earliest, costs O(log length). */
#include "datasets/pack.h"

#include <string.h>

static const uint32_t NONE = UINT32_MAX;

/* Rows by the room that they have left: the head of a queue for each room, and a bit tree over which rooms have rows. */
typedef struct {
    size_t length, leaves;
    uint32_t *head, *tail; /* [length + 1] rows of that room, in the order in which they came to it */
    uint32_t *next;        /* [rows] */
    uint8_t *tree;         /* [2 * leaves] 1 = some room below has a row */
} rooms;

static void rooms_clear(rooms *q) {
    kd_free(q->head);
    kd_free(q->tail);
    kd_free(q->next);
    kd_free(q->tree);
}

static kd_code rooms_init(rooms *q, size_t length, size_t rows, kd_err *e) {
    *q = (rooms){.length = length, .leaves = 1};
    while (q->leaves < length + 1) q->leaves *= 2;
    q->head = kd_calloc(length + 1, sizeof *q->head);
    q->tail = kd_calloc(length + 1, sizeof *q->tail);
    q->next = kd_calloc(rows + 1, sizeof *q->next);
    q->tree = kd_calloc(2 * q->leaves, 1);
    if (!q->head || !q->tail || !q->next || !q->tree) return kd_fail(e, KD_ENOMEM, "no memory to pack %zu lessons", rows);
    for (size_t i = 0; i <= length; i++) q->head[i] = NONE;
    return KD_OK;
}

static void mark(rooms *q, size_t room, uint8_t has) {
    size_t i = q->leaves + room;
    q->tree[i] = has;
    while (i > 1) {
        i /= 2;
        q->tree[i] = q->tree[2 * i] | q->tree[2 * i + 1];
    }
}

/* Rows of one room stand in the order in which they came to it. */
static void put(rooms *q, uint32_t row, size_t room) {
    q->next[row] = NONE;
    if (q->head[room] == NONE) {
        q->head[room] = row;
        mark(q, room, 1);
    } else {
        q->next[q->tail[room]] = row;
    }
    q->tail[room] = row;
}

/* Takes the first row of the least room >= need; NONE if there is none. */
static uint32_t take(rooms *q, size_t need, size_t *room) {
    size_t i = q->leaves + need;
    while (!q->tree[i]) { /* up until a right neighbour has something */
        while (i & 1) {
            i /= 2;
            if (i <= 1) return NONE;
        }
        i++;
    }
    while (i < q->leaves) i = q->tree[2 * i] ? 2 * i : 2 * i + 1;
    *room = i - q->leaves;
    uint32_t row = q->head[*room];
    q->head[*room] = q->next[row];
    if (q->head[*room] == NONE) mark(q, *room, 0);
    return row;
}

void kd_packed_clear(kd_packed *p) {
    for (size_t i = 0; i < p->n; i++) kd_free(p->rows[i].parts);
    kd_free(p->rows);
    *p = (kd_packed){0};
}

/* How much of a lesson goes in; 0 leaves it out. */
static kd_code length_of(kd_packed *out, const kd_lesson *l, const kd_pack_opts *o, size_t *n, kd_err *e) {
    bool learns = false;
    *n = l->n;
    if (l->n <= o->length) return KD_OK;
    if (o->longer == KD_PACK_REFUSE)
        return kd_fail(e, KD_EFORMAT, "row %zu: a lesson of %zu tokens, longer than a row of %zu", l->row, l->n, o->length);
    for (size_t i = 1; i < o->length && !learns; i++) learns = l->loss[i];
    if (o->longer == KD_PACK_DROP || !learns) {
        out->dropped++;
        *n = 0;
        return KD_OK;
    }
    out->cut++;
    out->cut_tokens += l->n - o->length;
    *n = o->length;
    return KD_OK;
}

static kd_code add_part(kd_pack_row *row, uint32_t lesson, size_t n, kd_err *e) {
    if ((row->n & (row->n - 1)) == 0) { /* grown by doubling: full when a power of two, or empty */
        size_t cap = row->n ? row->n * 2 : 1;
        void *p = kd_realloc_array(row->parts, cap, sizeof *row->parts);
        if (!p) return kd_fail(e, KD_ENOMEM, "no memory to pack lessons");
        row->parts = p;
    }
    row->parts[row->n++] = (kd_pack_part){lesson, (uint32_t)n};
    row->tokens += n;
    return KD_OK;
}

kd_code kd_pack(kd_packed *out, const kd_lesson *lessons, size_t n, const kd_pack_opts *o, kd_err *e) {
    rooms q = {0};
    *out = (kd_packed){0};
    if (o->length < 2 || o->length > UINT32_MAX / 4) return kd_fail(e, KD_EINVAL, "rows of %zu tokens: expected at least 2", o->length);
    if (n >= NONE) return kd_fail(e, KD_EINVAL, "%zu lessons are more than can be packed at once", n);
    kd_code c = rooms_init(&q, o->length, n, e);
    if (c == KD_OK && !(out->rows = kd_calloc(n + 1, sizeof *out->rows))) c = kd_fail(e, KD_ENOMEM, "no memory to pack %zu lessons", n);
    for (size_t i = 0; i < n && c == KD_OK; i++) {
        size_t len, room = o->length;
        c = length_of(out, &lessons[i], o, &len, e);
        if (c != KD_OK || !len) continue;
        uint32_t row = o->single ? NONE : take(&q, len, &room);
        if (row == NONE) {
            row = (uint32_t)out->n++;
            room = o->length;
        }
        c = add_part(&out->rows[row], (uint32_t)i, len, e);
        out->tokens += len;
        if (!o->single && room > len) put(&q, row, room - len);
    }
    for (size_t i = 0; out->rows && i < out->n; i++) out->waste += o->length - out->rows[i].tokens;
    rooms_clear(&q);
    if (c != KD_OK) kd_packed_clear(out);
    return c;
}
