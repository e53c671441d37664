#!/usr/bin/env bash
# Training killed at random moments and begun again ends with the unbroken run's bytes: weights, optimizer, metrics (times apart), checkpoint, at any
# number of threads. Speaks TAP. KILLS=N kills (default 10); KD_BUILD is the build folder.
set -u
here=$(cd "$(dirname "$0")/../../.." && pwd)
distill=$(cd "$KD_BUILD" && pwd)/distill
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
kills=${KILLS:-10}
n=0; failed=0
ok() { n=$((n + 1)); echo "ok $n - $1"; }
not_ok() { n=$((n + 1)); failed=1; echo "not ok $n - $1"; }
check() { if "${@:2}"; then ok "$1"; else not_ok "$1"; fi; }
strip() { sed -E 's/,"(tokens_per_second|flops_per_second|processor_seconds|peak_rss_bytes)":[^,}]*//g' "$1/metrics.jsonl"; }
same() { # RUN RUN RESULT STEP
    if [ -e "$1/evals.jsonl" ]; then cmp "$1/evals.jsonl" "$2/evals.jsonl" || return 1; fi
    if [ -d "$1/base" ]; then diff -r "$1/base" "$2/base" >/dev/null && cmp "$1/adapter/tokenizer.json" "$2/adapter/tokenizer.json" || return 1; fi
    cmp "$1/$3" "$2/$3" && cmp <(strip "$1") <(strip "$2") &&
        for f in trained.safetensors optimizer.safetensors state.json MANIFEST; do cmp "$1/checkpoints/step-$4/$f" "$2/checkpoints/step-$4/$f" || return 1; done
}
train() { # MODEL RUN MORE...
    local model=$1 run=$2; shift 2
    # shellcheck disable=SC2086
    "$distill" train ${FILES:-"$here/tests/oracle/models/$model/sequences.jsonl"} --model "$here/tests/oracle/models/$model" -o "$run" --save-every 7 "$@" -q 2>"$work/log" >/dev/null
}

one() { # LABEL MODEL STEPS RESULT KILLS MORE...
    local label=$1 model=$2 steps=$3 result=$4 want=$5 killed=0 tries=0; shift 5
    local begin=$(date +%s%N)
    train "$model" "$work/whole-$label" --max-steps "$steps" --threads 1 "$@" || { cat "$work/log"; not_ok "$label: the unbroken run"; return; }
    local reach=$((($(date +%s%N) - begin) / 1000000 * 3 / 2 / want + 40)) # milliseconds: so that the kills fall over the whole of it
    while [ "$tries" -lt $((want * 20)) ]; do
        tries=$((tries + 1))
        # killed early in life as well as late; threads differ from life to life
        train "$model" "$work/broken-$label" --max-steps "$steps" --threads $((1 + tries % 3)) "$@" &
        local pid=$!
        if [ "$killed" -lt "$want" ]; then
            local ms=$((RANDOM % reach))
            sleep "$((ms / 1000)).$(printf '%03d' $((ms % 1000)))"
            # the shell function runs distill as its child
            pkill -KILL -P "$pid" 2>/dev/null && killed=$((killed + 1))
            wait "$pid" 2>/dev/null || continue
            # done before it was killed often enough (a life that began late, or a machine that grew quicker): compared, and once more from the beginning, killed sooner
            [ "$killed" -ge $(((want + 1) / 2)) ] || [ "$reach" -lt 20 ] && break
            same "$work/whole-$label" "$work/broken-$label" "$result" "$steps" || break
            rm -rf "$work/broken-$label"
            reach=$((reach * 2 / 3))
        else
            wait "$pid" && break
            cat "$work/log"; not_ok "$label: going on after $killed kills"; return
        fi
    done
    check "$label: $killed kills" test "$killed" -ge $(((want + 1) / 2))
    check "$label: the same bytes after kills" same "$work/whole-$label" "$work/broken-$label" "$result" "$steps"
    check "$label: no half checkpoint is left" test -z "$(ls -A "$work/broken-$label/checkpoints" | grep -v '^step-')"
}

RANDOM=${SEED:-$$}
echo "# seed ${SEED:-$$}"
one dora qwen2-tied 400 adapter/adapter_model.safetensors $((kills / 2)) --method dora --lora-rank 3 --lora-dropout 0.1 --batch-size 3 --learning-rate 1e-3 --schedule cosine
one full qwen3-untied 300 model/model.safetensors $((kills - kills / 2)) --method full --batch-size 3 --learning-rate 1e-3 --weight-decay 0.1 --warmup-ratio 0.1
one badam qwen3-untied 60 model/model.safetensors 2 --method badam --badam-switch-interval 4 --badam-switch-mode random --batch-size 3 --learning-rate 1e-3
one bits qwen3-untied 60 adapter/adapter_model.safetensors 2 --optimizer adamw_8bit --ema 0.9 --modules-to-save embed_tokens,lm_head \
    --lora-rank-pattern q_proj=3,layers.0.mlp.down_proj=5 --batch-size 3 --learning-rate 1e-3
one muon llama-tied-rope3 40 model/model.safetensors 2 --method full --optimizer muon --batch-size 2 --learning-rate 1e-3 --weight-decay 0.1
one adafactor qwen2-tied 40 model/model.safetensors 2 --method full --optimizer adafactor --on-fault skip --loss-spike 1.02 --batch-size 2 --learning-rate 1e-3

# Everything at once: shares of two sources, new tokens on an installed base, held-out loss, answers and general text between updates, the best checkpoint kept.
o=$here/tests/oracle/models/llama-untied-spm
head -3 "$o/sequences.jsonl" >"$work/a.jsonl"; sed -n 4,6p "$o/sequences.jsonl" >"$work/b.jsonl"; tail -2 "$o/sequences.jsonl" >"$work/c.jsonl"
cat >"$work/q.jsonl" <<'J'
{"question":"What is 2 and 2?","answer":"4","messages":[{"role":"user","content":"What is 2 and 2?"},{"role":"assistant","content":"It is 4."}]}
{"question":"What is 3 and 2?","answer":"5","messages":[{"role":"user","content":"What is 3 and 2?"},{"role":"assistant","content":"It is 5."}]}
J
"$distill" import "$work/q.study" "$work/q.jsonl" --split dev --task math -q && "$distill" label "$work/q.study" -q
FILES="$work/a.jsonl=0.75 $work/b.jsonl=0.25" one eval llama-untied-spm 48 adapter/adapter_model.safetensors $((kills / 2)) --lora-rank 2 --lora-dropout 0.1 --batch-size 2 --learning-rate 3e-3 \
    --chat-template "$here/tests/distill/cli/golden/chatml.jinja" --add-tokens '<|im_start|>,<|im_end|>' --eos '<|im_end|>' \
    --eval-data "$work/q.study" --eval-split dev --eval-every 5 --eval-generate 2 --eval-max-tokens 6 --general "$work/c.jsonl"
check "eval: evaluated at every fifth update, before and after" test "$(wc -l <"$work/broken-eval/evals.jsonl")" = 11

# SIGTERM and SIGINT: a checkpoint is saved, the exit status says so, and the run goes on.
run=$work/signal
for sig in TERM INT; do
    "$distill" train "$here/tests/oracle/models/llama-untied-spm/sequences.jsonl" --model "$here/tests/oracle/models/llama-untied-spm" -o "$run" --max-steps 100000 \
        --save-every 100000 -q >/dev/null 2>&1 &
    pid=$!
    sleep 1; kill -$sig $pid; wait $pid; rc=$?
    check "SIG$sig exits $([ $sig = TERM ] && echo 143 || echo 130)" test "$rc" = "$([ $sig = TERM ] && echo 143 || echo 130)"
    check "SIG$sig saves" test -n "$(ls "$run/checkpoints" 2>/dev/null)"
done

# A changed setting is refused, with the difference; --fresh starts over; a finished run is done.
run=$work/whole-dora
train qwen2-tied "$run" --max-steps 400 --method dora --lora-rank 3 --lora-dropout 0.1 --batch-size 4 --learning-rate 1e-3 --schedule cosine; rc=$?
check "another batch size is refused" test $rc = 78
check "the difference is shown" grep -q 'batch-size: 3 there, 4 now' "$work/log"
train qwen2-tied "$run" --max-steps 400 --method dora --lora-rank 3 --lora-dropout 0.1 --batch-size 3 --learning-rate 1e-3 --schedule cosine; rc=$?
check "a finished run is done at once" test $rc = 0
# A damaged checkpoint is passed over: the run goes back to the one before.
truncate -s -1 "$run/checkpoints/step-400/trained.safetensors"; rm -r "$run/adapter"
train qwen2-tied "$run" --max-steps 400 --method dora --lora-rank 3 --lora-dropout 0.1 --batch-size 3 --learning-rate 1e-3 --schedule cosine; rc=$?
check "a damaged checkpoint is passed over" same "$run" "$work/broken-dora" adapter/adapter_model.safetensors 400
train qwen2-tied "$run" --max-steps 20 --batch-size 4 --fresh; rc=$?
check "--fresh starts over" test "$rc" = 0 -a "$(wc -l <"$run/metrics.jsonl")" = 20
train qwen2-tied "$work/none" --max-steps 2 --memory 1M; rc=$?
check "too little memory is refused before anything" test $rc = 75
echo "1..$n"
exit $failed
