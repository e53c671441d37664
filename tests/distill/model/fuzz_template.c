/* tests/distill/model/fuzz_template.c - any bytes as a chat template: refused, or rendered over one conversation within its bounds, to valid UTF-8. */
#include "distill/base/utf8.h"
#include "distill/model/template.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char context[] =
    "{\"messages\":[{\"role\":\"system\",\"content\":\" Be brief. \"},{\"role\":\"user\",\"content\":\"H\\u00e9 "
    "<b>\\n\"},{\"role\":\"assistant\",\"content\":null,"
    "\"reasoning\":\"r\",\"tool_calls\":[{\"function\":{\"name\":\"f\",\"arguments\":{\"a\":[1,2.5,null,true,1e300,"
    "123456789012345678901234567890]}}}]}],"
    "\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"parameters\":{\"type\":\"object\",\"properties\":{\"a\":{\"type\":"
    "\"array\"}}}}}],"
    "\"n\":5,\"f\":2.5,\"s\":\"Hello World\",\"l\":[3,1,2],\"d\":{\"b\":1,\"a\":{\"c\":[1]}},\"t\":true,\"none\":null}";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static kd_json *doc;
    static const kd_template_string tokens[] = {{"bos_token", {"<s>", 3}}, {"eos_token", {"</s>", 4}}};
    kd_template *t;
    kd_err e = {0};
    kd_buf out = {0};
    kd_template_spans spans = {0};
    if (!doc && kd_json_parse(&doc, context, sizeof context - 1, "context", &e)) abort();
    if (kd_template_new(&t, (const char *)data, size, "t", &e)) {
        if (t || !e.msg[0]) abort();
        return 0;
    }
    const kd_json_node *root = kd_json_root(doc);
    const kd_template_input in = {.messages = kd_json_get(root, "messages"),
                                  .tools = kd_json_get(root, "tools"),
                                  .extra = root,
                                  .strings = tokens,
                                  .n_strings = 2,
                                  .add_generation_prompt = true,
                                  .now = 1700000000,
                                  .max_steps = 300000,
                                  .max_bytes = 4 << 20,
                                  .max_output = 1 << 20};
    const kd_code c = kd_template_render(&out, &spans, t, &in, &e);
    if (c && (!e.msg[0] || out.len || spans.n)) abort();
    if (!c && !kd_utf8_valid(out.data ? out.data : "", out.len)) abort();
    if (out.len > 1 << 20) abort();
    for (size_t i = 0; i < spans.n; i++)
        if (spans.at[i].start > spans.at[i].end) abort();
    kd_free(spans.at);
    kd_buf_clear(&out);
    kd_template_free(t);
    return 0;
}
