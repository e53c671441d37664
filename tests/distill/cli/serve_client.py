# tests/distill/cli/serve_client.py - asks a `distill serve` what its clients ask. Called by test_serve.sh: DISTILL FOLDER TINY_MODEL [REAL_MODEL].
# Python's standard library alone. Prints TAP.
import http.client, json, os, re, signal, socket, subprocess, sys, threading, time

distill, folder, tiny = sys.argv[1:4]
real = sys.argv[4] if len(sys.argv) > 4 else None
count = failed = 0


def check(name, ok, why=""):
    global count, failed
    count += 1
    failed += not ok
    print(("ok" if ok else "not ok"), count, "-", name, flush=True)
    if not ok:
        print("#", str(why)[:2000], flush=True)


class Server:
    def __init__(self, model, *flags):
        self.err = open(os.path.join(folder, "err.txt"), "w+b")
        self.p = subprocess.Popen([distill, "serve", "--model", model, "--port", "0", "--json", "--threads", "2", *flags], stdout=subprocess.PIPE,
                                  stderr=self.err)
        line = self.p.stdout.readline()
        assert line, open(self.err.name).read()
        self.host = json.loads(line)["url"].split("//")[1]

    def raw(self, method, path, body=None, headers=None, timeout=300):
        c = http.client.HTTPConnection(self.host, timeout=timeout)
        c.request(method, path, body, headers if headers is not None else {"Content-Type": "application/json"})
        r = c.getresponse()
        data = r.read()
        c.close()
        return r.status, data, r

    def ask(self, path, **body):
        status, data, _ = self.raw("POST", path, json.dumps(body))
        return status, json.loads(data)

    def chat(self, text="Hello", **more):
        status, r = self.ask("/v1/chat/completions", messages=[{"role": "user", "content": text}], **more)
        assert status == 200, r
        return r

    def stream(self, path, **body):
        status, data, r = self.raw("POST", path, json.dumps({**body, "stream": True}))
        assert status == 200 and r.getheader("Content-Type") == "text/event-stream", data
        events = [e for e in data.decode().split("\n\n") if e]
        assert all(e.startswith("data: ") for e in events) and events[-1] == "data: [DONE]", events[-2:]
        return [json.loads(e[6:]) for e in events[:-1]]

    def metric(self, name):
        text = self.raw("GET", "/metrics")[1].decode()
        return float(next(l.split()[-1] for l in text.splitlines() if l.startswith("distill_" + name + " ")))

    def end(self, sig=signal.SIGTERM):
        self.p.send_signal(sig)
        try:
            return self.p.wait(60)
        except subprocess.TimeoutExpired:
            self.p.kill()
            return "hung"


def joined(chunks, key, index=0):
    return "".join(c["choices"][0]["delta"].get(key) or "" for c in chunks if c["choices"] and c["choices"][0]["index"] == index)


def openai_client(s):
    """What the `openai` package makes of it: an answer, a stream, several choices with log-probabilities, models, an error of its own kind."""
    try:
        import openai
    except ImportError:
        print("# SKIP no openai client", flush=True)
        return
    c = openai.OpenAI(base_url=f"http://{s.host}/v1", api_key="none", max_retries=0)
    said = [{"role": "user", "content": "Hello"}]
    model = c.models.list().data[0].id
    a = c.chat.completions.create(model=model, messages=said, max_tokens=12, seed=4, temperature=0.8)
    parts = list(c.chat.completions.create(model=model, messages=said, max_tokens=12, seed=4, temperature=0.8, stream=True, stream_options={"include_usage": True}))
    text = "".join(p.choices[0].delta.content or "" for p in parts if p.choices)
    check("openai: a stream joined is the answer", text == a.choices[0].message.content and parts[-1].usage.completion_tokens == a.usage.completion_tokens, (text, a))
    a = c.chat.completions.create(model=model, messages=said, max_tokens=5, n=3, logprobs=True, top_logprobs=4, seed=4)
    check("openai: choices with log-probabilities",
          len(a.choices) == 3 and all(t.logprob <= 0 and len(t.top_logprobs) == 4 for x in a.choices for t in x.logprobs.content), a)
    a = c.completions.create(model=model, prompt="One two", max_tokens=5, seed=4)
    check("openai: completions", a.usage.completion_tokens <= 5 and a.choices[0].finish_reason in ("stop", "length"), a)
    try:
        c.chat.completions.create(model=model, messages=said, max_tokens=5, temperature=-1)
        check("openai: what is wrong is a BadRequestError", False)
    except openai.BadRequestError as e:
        check("openai: what is wrong is a BadRequestError", "temperature" in str(e), e)


def same_as_generate(s, model, question, n, tokens):
    study, out = os.path.join(folder, "s.study"), os.path.join(folder, "s.jsonl")
    for f in (study, out):
        if os.path.exists(f):
            os.unlink(f)
    with open(os.path.join(folder, "q.jsonl"), "w") as f:
        f.write(json.dumps({"question": question, "answer": "1"}) + "\n")
    for args in (["import", study, os.path.join(folder, "q.jsonl"), "-q"],
                 ["generate", study, "--teacher", model, "--samples", str(n), "--seed", "7", "--temperature", "0.8", "--top-k", "40", "--max-tokens", str(tokens), "-q"],
                 ["export", study, out, "--select", "1", "--format", "messages", "-q"]):
        subprocess.run([distill, *args], check=True, stdout=subprocess.DEVNULL)
    want = sorted(json.loads(l)["messages"][-1]["content"] for l in open(out))
    r = s.chat(question, n=n, seed=7, temperature=0.8, top_k=40, max_tokens=tokens)
    got = sorted(c["message"]["content"] for c in r["choices"])
    return want == got, (want, got)


def generate_with_flags(model):
    study, out = os.path.join(folder, "f.study"), os.path.join(folder, "f.jsonl")
    gen = [distill, "generate", study, "--teacher", model, "--samples", "3", "--seed", "7", "-q"]
    subprocess.run([distill, "import", study, os.path.join(folder, "q.jsonl"), "-q"], check=True, stdout=subprocess.DEVNULL)
    form = ["--regex", "(yes|no), [a-z]{3,9}\\.", "--repetition-penalty", "1.1", "--dry-multiplier", "0.8", "--logit-bias", "5=-inf"]
    for more in (form, form, ["--max-tokens", "5"]):
        subprocess.run(gen + more, check=True, stdout=subprocess.DEVNULL)
    subprocess.run([distill, "export", study, out, "--select", "1", "--format", "messages", "-q"], check=True, stdout=subprocess.DEVNULL)
    got = [json.loads(l)["messages"][-1]["content"] for l in open(out)]
    fit = [g for g in got if re.fullmatch(r"(yes|no), [a-z]{3,9}\.", g)]
    check("generate: sampling flags and forms shape answers, and tell their settings apart", len(got) == 6 and len(fit) == 3, got)
    p = subprocess.run(gen[:3] + ["--teacher", "http://127.0.0.1:9/v1", "--teacher-model", "x", "--min-tokens", "3"], capture_output=True)
    check("generate: such flags are refused for an endpoint", p.returncode == 64 and b"--min-tokens" in p.stderr, p)


def answers(s, model):
    ok, why = same_as_generate(s, model, "How many legs has a spider?", 4, 30)
    check("a request with generate's seed and settings gives generate's answers", ok, why)
    whole = s.chat("Name a colour", seed=3, max_tokens=20, n=2, logprobs=True, top_logprobs=3)
    chunks = s.stream("/v1/chat/completions", messages=[{"role": "user", "content": "Name a colour"}], seed=3, max_tokens=20, n=2, logprobs=True, top_logprobs=3,
                      stream_options={"include_usage": True})
    check("a stream's pieces are the whole answer", all(joined(chunks, "content", i) == whole["choices"][i]["message"]["content"] for i in range(2)), chunks)
    streamed = [e for c in chunks if c["choices"] and c["choices"][0]["index"] == 1 and c["choices"][0]["logprobs"] for e in c["choices"][0]["logprobs"]["content"]]
    lp = whole["choices"][1]["logprobs"]["content"]
    check("log-probabilities: the stream's are the whole's", streamed == lp, (streamed, lp))
    check("log-probabilities: falling, the drawn one no better than the best, bytes spell the token",
          all(len(t["top_logprobs"]) == 3 and t["top_logprobs"][0]["logprob"] >= t["logprob"] and
              [x["logprob"] for x in t["top_logprobs"]] == sorted((x["logprob"] for x in t["top_logprobs"]), reverse=True) and
              bytes(t["bytes"]).decode(errors="replace") == t["token"] for t in lp), lp)
    u = whole["usage"]
    check("usage adds up, and the stream's is the same", u["total_tokens"] == u["prompt_tokens"] + u["completion_tokens"] and
          [chunks[-1]["usage"][k] for k in ("prompt_tokens", "completion_tokens")] == [u[k] for k in ("prompt_tokens", "completion_tokens")] and
          chunks[-1]["choices"] == [] and all(c["usage"] is None for c in chunks[:-1]), (u, chunks[-1]))
    text = s.ask("/v1/completions", prompt=["a b", [5, 6, 7]], n=2, seed=1, max_tokens=6, logprobs=2)[1]
    pieces = s.stream("/v1/completions", prompt=["a b", [5, 6, 7]], n=2, seed=1, max_tokens=6)
    check("completions: two prompts, two answers each, streamed alike", [c["index"] for c in text["choices"]] == [0, 1, 2, 3] and
          all("".join(p["choices"][0]["text"] for p in pieces if p["choices"][0]["index"] == c["index"]) == c["text"] for c in text["choices"]), (text, pieces))
    check("completions: log-probabilities", all(len(c["logprobs"][k]) <= 6 for c in text["choices"] for k in ("tokens", "token_logprobs", "top_logprobs", "text_offset")) and
          text["choices"][0]["logprobs"]["text_offset"][0] == 0, text)
    a = s.chat("Hi", temperature=0, max_tokens=12)["choices"][0]["message"]["content"]
    stop = a[2:4]
    b = s.chat("Hi", temperature=0, max_tokens=12, stop=[stop])["choices"][0]
    check("a stop string ends the answer before itself", b["message"]["content"] == a[:a.index(stop)] and b["finish_reason"] == "stop", (a, b))
    first = s.chat("Hi", temperature=0, max_tokens=1, logprobs=True, top_logprobs=2)["choices"][0]["logprobs"]["content"][0]
    tokens = s.ask("/v1/completions", prompt="x", max_tokens=1, temperature=0, logprobs=1, logit_bias={"9": 100})[1]
    other = s.ask("/v1/completions", prompt="x", max_tokens=1, temperature=0, logprobs=1, logit_bias={"9": -100})[1]
    check("a bias draws a token or bans it", tokens["choices"][0]["logprobs"]["tokens"] != other["choices"][0]["logprobs"]["tokens"] and first["token"], (tokens, other))
    x = [s.chat("Hi", max_tokens=16, temperature=1.5)["choices"][0]["message"]["content"] for _ in range(6)]  # two may be alike by chance, six are not
    z = [s.chat("Hi", max_tokens=16, seed=5)["choices"][0]["message"]["content"] for _ in range(2)]
    check("without a seed answers differ, with one they do not", len(set(x)) > 1 and z[0] == z[1], (x, z))


def together(s):
    want = {i: s.chat(f"question {i}", seed=i, max_tokens=24)["choices"][0]["message"]["content"] for i in range(6)}
    got, bad = {}, []

    def one(k):
        try:
            if k % 3 == 0:
                got[k] = joined(s.stream("/v1/chat/completions", messages=[{"role": "user", "content": f"question {k % 6}"}], seed=k % 6, max_tokens=24), "content")
            else:
                got[k] = s.chat(f"question {k % 6}", seed=k % 6, max_tokens=24)["choices"][0]["message"]["content"]
        except Exception as e:
            bad.append(repr(e))

    threads = [threading.Thread(target=one, args=(k,)) for k in range(60)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    check("60 clients at once get what each would get alone", not bad and len(got) == 60 and all(got[k] == want[k % 6] for k in got), (bad[:3], got))


def leaving(s):
    before, made = s.metric("requests_cancelled_total"), []
    for stream in (True, False):
        c = socket.create_connection(s.host.split(":"))
        body = json.dumps({"messages": [{"role": "user", "content": "on and on"}], "max_tokens": 8000, "min_tokens": 7900, "stream": stream, "loop_guard": False})
        c.sendall(f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
        if stream:
            made.append(c.recv(100))
        time.sleep(0.3)
        c.close()
    end = time.time() + 30
    while time.time() < end and s.metric("requests_in_flight"):
        time.sleep(0.1)
    check("a client that leaves ends its sequence", s.metric("requests_cancelled_total") == before + 2 and not s.metric("sequences_running"), made)


def refusals(s):
    chat, text = "/v1/chat/completions", "/v1/completions"
    msg = [{"role": "user", "content": "x"}]
    bad = [
        (chat, b"{", None), (chat, b"", None), (chat, b"[]", None), (chat, b"{\"messages\": [{\"role\": \"user\", \"content\": \"\xff\"}]}", None),
        (chat, b"[" * 100000, None), (chat, b"{\"messages\":" + b"[" * 500 + b"]" * 500 + b"}", None), (chat, b'{"messages":[],"messages":[]}', None),
        (chat, {}, "messages"), (chat, {"messages": "x"}, "messages"), (chat, {"messages": []}, "messages"), (chat, {"messages": [3]}, "messages"),
        (chat, {"messages": [{"role": "king", "content": "x"}]}, "messages"), (chat, {"messages": [{"role": "user"}]}, "messages"),
        (chat, {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]}, "messages"),
        (chat, {"messages": [{"role": "user", "content": {"a": 1}}]}, "messages"), (chat, {"messages": msg, "temperature": "hot"}, "temperature"),
        (chat, {"messages": msg, "temperature": -1}, "temperature"), (chat, {"messages": msg, "top_p": 2}, "top_p"), (chat, {"messages": msg, "n": 0}, "n"),
        (chat, {"messages": msg, "n": 10**9}, "n"), (chat, {"messages": msg, "n": 1.5}, "n"), (chat, {"messages": msg, "max_tokens": "many"}, "max_tokens"),
        (chat, {"messages": msg, "max_tokens": -1}, "max_tokens"), (chat, {"messages": msg, "stop": 3}, "stop"), (chat, {"messages": msg, "stop": [""]}, "stop"),
        (chat, {"messages": msg, "stop": ["x"] * 99}, "stop"), (chat, {"messages": msg, "seed": "s"}, "seed"), (chat, {"messages": msg, "stream": 1}, "stream"),
        (chat, {"messages": msg, "logit_bias": []}, "logit_bias"), (chat, {"messages": msg, "logit_bias": {"a": 1}}, "logit_bias"),
        (chat, {"messages": msg, "logit_bias": {"5": 900}}, "logit_bias"), (chat, {"messages": msg, "logit_bias": {"99999999": 1}}, None),
        (chat, {"messages": msg, "top_logprobs": 3}, "top_logprobs"), (chat, {"messages": msg, "logprobs": True, "top_logprobs": 99}, "top_logprobs"),
        (chat, {"messages": msg, "tools": {}}, "tools"), (chat, {"messages": msg, "tools": [{"type": "function"}]}, "tools"),
        (chat, {"messages": msg, "tool_choice": "required", "tools": []}, "tool_choice"), (chat, {"messages": msg, "stream_options": 3}, "stream_options"),
        (chat, {"messages": [{"role": "user", "content": "x " * 20000}]}, "messages"), (chat, {"messages": msg, "functions": [1]}, "functions"),
        (text, {}, "prompt"), (text, {"prompt": []}, "prompt"), (text, {"prompt": [[1], [-1]]}, "prompt"), (text, {"prompt": [10**8]}, "prompt"),
        (text, {"prompt": {"a": 1}}, "prompt"), (text, {"prompt": ["x", 3]}, "prompt"), (text, {"prompt": "x", "echo": True}, "echo"),
        (text, {"prompt": "x", "best_of": 4}, "best_of"), (text, {"prompt": "x", "suffix": "y"}, "suffix"), (text, {"prompt": ""}, "prompt"),
    ]
    wrong = []
    for path, body, param in bad:
        status, data, _ = s.raw("POST", path, body if isinstance(body, bytes) else json.dumps(body))
        try:
            e = json.loads(data)["error"]
            if status != 400 or e["type"] != "invalid_request_error" or e["param"] != param or not e["message"]:
                wrong.append((str(body)[:80], status, e))
        except Exception as x:
            wrong.append((str(body)[:80], status, data[:200], repr(x)))
    check(f"{len(bad)} bad bodies are refused with 400, the member named", not wrong, wrong)
    got = [s.raw("GET", "/v1/nothing")[0], s.raw("GET", chat)[0], s.raw("POST", "/v1/models")[0], s.raw("POST", chat, "{}", {"Content-Type": "text/plain"})[0],
           s.raw("GET", "/v1/models/other")[0], s.raw("PUT", chat, "{}")[0]]
    check("paths, methods and types: 404, 405, 405, 415, 404, 405", got == [404, 405, 405, 415, 404, 405], got)
    c = socket.create_connection(s.host.split(":"))
    c.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 99999999999\r\n\r\n")
    check("a body larger than allowed: 413, before it is sent", b" 413 " in c.recv(100))
    c.close()
    c = socket.create_connection(s.host.split(":"))
    c.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
    sent = 0
    try:
        while sent < 64 << 20:
            c.sendall(b"10000\r\n" + b" " * 65536 + b"\r\n")
            sent += 65536
    except OSError:
        pass
    check("a body without a length is cut off where it grows too large", sent < 32 << 20, sent)
    c.close()
    check("the server has lived through it", s.chat(max_tokens=2)["choices"][0]["finish_reason"] in ("stop", "length"))


def thoughts(s):
    r = s.ask("/v1/completions", prompt="x", seed=1, max_tokens=4)[1]
    body = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 40, "seed": 2, "chat_template_kwargs": {"enable_thinking": True}}
    a = s.ask("/v1/chat/completions", **body)[1]["choices"][0]["message"]
    chunks = s.stream("/v1/chat/completions", **body)
    check("thoughts: streamed and whole are parted alike", joined(chunks, "content") == a["content"] and joined(chunks, "reasoning_content") == a.get("reasoning_content", ""), (a, chunks, r))


def forms(s):
    schema = {"type": "object", "properties": {"name": {"type": "string", "maxLength": 8}, "n": {"type": "integer", "minimum": 1, "maximum": 99},
              "kind": {"enum": ["a", "b"]}}, "required": ["name", "n", "kind"], "additionalProperties": False}
    fmt = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema, "strict": True}}
    out, why = [], None
    for seed in range(6):
        c = s.chat("Make one", seed=seed, temperature=1.0, max_tokens=300, response_format=fmt)["choices"][0]
        try:
            v = json.loads(c["message"]["content"])
            out.append(c["finish_reason"] == "stop" and list(v) == ["name", "n", "kind"] and len(v["name"]) <= 8 and 1 <= v["n"] <= 99 and v["kind"] in "ab")
        except Exception as e:
            out.append(False)
            why = (repr(e), c)
    check("answers are what the schema says", all(out), why or out)
    c = s.chat("Yes or no?", seed=1, temperature=1.0, regex="(yes|no), (sir|madam)\\.")["choices"][0]["message"]["content"]
    check("an answer is what the expression says", c in ("yes, sir.", "no, sir.", "yes, madam.", "no, madam."), c)
    c = "".join(joined(s.stream("/v1/chat/completions", messages=[{"role": "user", "content": "x"}], seed=2, temperature=0.5, max_tokens=60,
                                response_format={"type": "json_object"}), "content"))
    check("json_object begins an object", c.startswith("{"), c)
    bad = [s.ask("/v1/chat/completions", messages=[{"role": "user", "content": "x"}], **b) for b in
           ({"response_format": {"type": "json_schema", "json_schema": {"schema": {"not": {}}}}}, {"response_format": {"type": "xml"}}, {"response_format": 3},
            {"response_format": {"type": "json_schema"}}, {"regex": "(a"}, {"regex": "a", "response_format": {"type": "json_object"}})]
    check("forms that cannot be held are refused by name", all(b[0] == 400 for b in bad) and '"not"' in bad[0][1]["error"]["message"], bad)


def main():
    s = Server(tiny)
    status, data, _ = s.raw("GET", "/health")
    check("health", status == 200 and json.loads(data)["status"] == "ok", data)
    m = json.loads(s.raw("GET", "/v1/models")[1])
    check("models", m["object"] == "list" and m["data"][0]["id"] == "tiny" and json.loads(s.raw("GET", "/v1/models/tiny")[1])["id"] == "tiny", m)
    answers(s, tiny)
    generate_with_flags(tiny)
    together(s)
    leaving(s)
    refusals(s)
    thoughts(s)
    forms(s)
    check("metrics count", s.metric("generated_tokens_total") > 100 and s.metric("request_seconds_count") > 60)
    # A stop with work in flight: it is finished, nothing new is taken.
    got = []
    t = threading.Thread(target=lambda: got.append(s.chat(n=16, max_tokens=400, min_tokens=400, loop_guard=False, seed=1)))
    t.start()
    while t.is_alive() and not s.metric("sequences_running"):  # never to wait for what has come and gone
        pass
    rc = s.end()
    t.join()
    check("SIGTERM: what was asked is answered, exit 143", rc == 143 and got and got[0]["usage"]["completion_tokens"] == 16 * 400, (rc, got[:1]))
    s = Server(tiny, "--draft", "0")
    check("SIGINT: exit 130", s.end(signal.SIGINT) == 130)
    key = os.path.join(folder, "key")
    with open(key, "w") as f:
        f.write("sesame-open\n")
    os.chmod(key, 0o644)
    p = subprocess.run([distill, "serve", "--model", tiny, "--port", "0", "--api-key-file", key], capture_output=True)
    check("a key that others may read is refused: 77", p.returncode == 77 and b"chmod 600" in p.stderr, p)
    os.chmod(key, 0o600)
    s = Server(tiny, "--api-key-file", key, "--max-body", "4K", "--seed", "9")
    h = {"Content-Type": "application/json"}
    got = [s.raw("GET", "/v1/models", headers=h)[0], s.raw("GET", "/v1/models", headers={**h, "Authorization": "Bearer sesame-ope"})[0],
           s.raw("GET", "/v1/models", headers={**h, "Authorization": "Bearer sesame-open"})[0], s.raw("GET", "/health", headers=h)[0]]
    check("a key: without, with another, with it, health without", got == [401, 401, 200, 200], got)
    a = [s.raw("POST", "/v1/completions", json.dumps({"prompt": "x", "max_tokens": 9}), {**h, "Authorization": "Bearer sesame-open"})[1] for _ in range(2)]
    a = [json.loads(x)["choices"][0]["text"] for x in a]
    check("--seed is the seed of requests that bring none", a[0] == a[1], a)
    p = subprocess.run([distill, "serve", "--model", tiny, "--port", s.host.split(":")[1]], capture_output=True)
    check("a port in use: 73", p.returncode == 73 and b"in use" in p.stderr, p)
    check("and out", s.end() == 143)
    s = Server(tiny)
    openai_client(s)
    s.end()
    if real:
        s = Server(real)
        openai_client(s)
        answers(s, real)
        together(s)
        forms(s)
        check("the real model's server ends", s.end() == 143)
    print(f"1..{count}")
    sys.exit(1 if failed else 0)


main()
