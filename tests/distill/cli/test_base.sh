#!/usr/bin/env bash
# Base models as students, and what training learns from, as a user types it. Golden: transformers (make_base_golden.py). Speaks TAP.
set -u
here=$(cd "$(dirname "$0")" && pwd)
distill=$(cd "${KD_BUILD:-build/release}" && pwd)/distill
oracle=$(cd "$here/../../oracle/models" && pwd)
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
n=0; failed=0
result() { n=$((n + 1)); if [ "$1" -eq 0 ]; then echo "ok $n - $2"; else echo "not ok $n - $2"; failed=1; sed 's/^/# /' err.txt 2>/dev/null | tail -5; fi; }
is() { [ "$1" = "$2" ]; result $? "$3"; [ "$1" = "$2" ] || echo "# expected $2, found $1"; }
refused() { # STATUS PATTERN NAME COMMAND...
    local want=$1 pattern=$2 name=$3; shift 3
    "$distill" "$@" >out.txt 2>err.txt; local rc=$?
    [ $rc = "$want" ] && grep -q -- "$pattern" err.txt; result $? "$name"
}
ids() { grep -oE '"tokens": ?\[[^]]*\]' "$1" | tr -d ' '; }
lps() { grep -oE '"logprobs": ?\[[^]]*\]' "$1" | grep -oE -- '-?[0-9.]+(e-?[0-9]+)?'; }
bare() { sed -E 's/"text": ?"([^"\\]|\\.)*", ?//' "$1"; } # rows of tokens alone: text would be read as plain
near() { # FILE FILE LIMIT NAME
    local worst; worst=$(paste <(lps "$1") <(lps "$2") | awk '{d = $1 - $2; if (d < 0) d = -d; if (d > w) w = d} END {print NR && $1 != "" ? w : "none"}')
    awk -v a="$worst" -v b="$3" 'BEGIN { exit !(a != "none" && a + 0 <= b + 0) }'; result $? "$4 (worst $worst nats)"
}
cp -r "$oracle/llama-untied-spm" base && rm -f base/chat_template.jinja
cat >chat.jsonl <<'J'
{"messages":[{"role":"user","content":"two and two"},{"role":"assistant","content":"The sum is 4."}]}
{"messages":[{"role":"user","content":"three and five"},{"role":"assistant","content":"The sum is 8."}]}
{"messages":[{"role":"user","content":"one and six"},{"role":"assistant","content":"The sum is 7."}]}
J
words=(--chat-template "$here/golden/chatml.jinja" --add-tokens '<|im_start|>,<|im_end|>,<think>' --eos '<|im_end|>' --rope-theta 50000)

refused 65 'chat template' "a base model without a template is refused" train chat.jsonl -m base -o r --max-steps 2
refused 65 'is no token of the model' "an end of turn that is no token is refused" train chat.jsonl -m base -o r --max-steps 2 "${words[@]:0:2}"
refused 65 "say --eos '<|im_end|>'" "an end of turn that is not the model's end is refused" train chat.jsonl -m base -o r --max-steps 2 "${words[@]:0:4}"
refused 64 'expected a token of the vocabulary' "--eos of no token is refused" train chat.jsonl -m base -o r --eos '<nothing>'
refused 64 'twice' "a token twice is refused" train chat.jsonl -m base -o r --add-tokens '<a>,<a>' --eos '<a>'
[ ! -e r ]; result $? "nothing was written"
"$distill" train chat.jsonl -m base -o dry --max-steps 2 "${words[@]}" -n >out.txt 2>err.txt; result $? "a dry run tells the plan"
grep -q '3 new tokens' out.txt && [ ! -e dry ]; result $? "... and writes nothing"

# What an export would refuse in the end is said before the first update.
cp -r "$oracle/qwen2-tied" wordless && rm -f wordless/tokenizer.json
echo '{"tokens":[5,6,7,8],"loss":[0,1,1,1]}' >ids.jsonl
"$distill" train ids.jsonl -m wordless -o told --max-steps 1 >out.txt 2>err.txt && grep -q 'GGUF file of this student cannot be made.*no tokenizer' err.txt; result $? "a base that no GGUF can be made of is told before training"
refused 66 'no tokenizer' "... as convert says in the end" convert told told.gguf
"$distill" train ids.jsonl -m "$oracle/qwen2-tied" -o fine --max-steps 1 >out.txt 2>err.txt && ! grep -q 'cannot be made' err.txt; result $? "... and of another nothing is said"

# The installed base is what transformers makes of it: words, rows, rope.
"$distill" train chat.jsonl -m base -o run --max-steps 12 --learning-rate 1e-2 "${words[@]}" -q >out.txt 2>err.txt; result $? "trains with new tokens"
bare "$here/golden/base_student.jsonl" >golden.jsonl
"$distill" score --json -m run/base golden.jsonl >base.jsonl 2>err.txt
is "$(ids base.jsonl)" "$(ids "$here/golden/base_student.jsonl")" "ids of the installed base are transformers'"
near base.jsonl "$here/golden/base_student.jsonl" 3e-5 "its log-probabilities are transformers'"
"$distill" render --json -m run "$here/golden/base_chats.jsonl" >rendered.jsonl 2>err.txt
is "$(ids rendered.jsonl)" "$(ids "$here/golden/base_student.jsonl")" "its chats are rendered as transformers does"
# Every export carries words and rows.
grep -q '"trainable_token_indices": {"embed_tokens": \[420, 421, 422\], "lm_head": \[420, 421, 422\]}' run/adapter/adapter_config.json; result $? "the adapter names its tokens as PEFT does"
cmp -s run/adapter/chat_template.jinja "$here/golden/chatml.jinja" && cmp -s run/adapter/tokenizer.json run/base/tokenizer.json; result $? "the adapter's folder has template and tokenizer"
"$distill" convert run merged -q >out.txt 2>err.txt; result $? "merges into a folder"
"$distill" convert run m.gguf -q >out.txt 2>err.txt; result $? "merges into a GGUF"
bare rendered.jsonl >bare.jsonl
"$distill" score --json -m run bare.jsonl >run.jsonl 2>err.txt
for m in merged m.gguf; do
    "$distill" render --json -m $m "$here/golden/base_chats.jsonl" >again.jsonl 2>err.txt; cmp -s again.jsonl rendered.jsonl; result $? "$m renders the same"
    "$distill" score --json -m $m bare.jsonl >again.jsonl 2>err.txt; near again.jsonl run.jsonl 3e-5 "$m scores as base and adapter do"
done
# Learned: the new end of turn comes behind the answer.
"$distill" chat -m run -p 'two and two' --temperature 0 --max-tokens 40 >out.txt 2>err.txt; result $? "talks"
# A run moved as a whole is whole.
cp -r run elsewhere && mv run hidden && "$distill" score --json -m elsewhere bare.jsonl >again.jsonl 2>err.txt; cmp -s again.jsonl run.jsonl; result $? "a moved run finds its base"
mv hidden run
# Going on with the same words finds everything in place; other words are refused.
"$distill" train chat.jsonl -m base -o run --max-steps 12 --learning-rate 1e-2 "${words[@]}" -q >out.txt 2>err.txt; result $? "the same command again is done"
refused 78 'rope-theta: 50000 there, 60000 now' "another rope base is refused" train chat.jsonl -m base -o run --max-steps 12 --learning-rate 1e-2 "${words[@]:0:6}" --rope-theta 60000
# All weights, and a GGUF file as base.
"$distill" train chat.jsonl -m base -o full --method full --max-steps 4 "${words[@]}" -q >out.txt 2>err.txt; result $? "trains all weights with new tokens"
cmp -s full/model/tokenizer.json run/base/tokenizer.json && cmp -s full/model/chat_template.jinja "$here/golden/chatml.jinja"; result $? "the model's folder has its words"
"$distill" render --json -m full "$here/golden/base_chats.jsonl" >again.jsonl 2>err.txt; cmp -s again.jsonl rendered.jsonl; result $? "it renders the same"
"$distill" convert base base.gguf -q >out.txt 2>err.txt
"$distill" train chat.jsonl -m base.gguf -o gg --max-steps 4 "${words[@]}" -q >out.txt 2>err.txt; result $? "trains a GGUF base with new tokens"
"$distill" score --json -m gg/base.gguf golden.jsonl >base.jsonl 2>err.txt
is "$(ids base.jsonl)" "$(ids "$here/golden/base_student.jsonl")" "ids of the installed GGUF are transformers'"
near base.jsonl "$here/golden/base_student.jsonl" 3e-5 "its log-probabilities are transformers'"
[ -s gg/adapter/tokenizer.json ] && cmp -s gg/adapter/chat_template.jinja "$here/golden/chatml.jinja"; result $? "its adapter has template and tokenizer"
# A template alone: the weights are linked, not copied.
"$distill" train chat.jsonl -m "$oracle/qwen2-tied" -o linked --max-steps 2 --chat-template "$oracle/qwen2-tied/chat_template.jinja" -q >out.txt 2>err.txt; result $? "a template alone is installed"
cmp -s linked/base/model.safetensors "$oracle/qwen2-tied/model.safetensors"; result $? "with the very weights"

# Several sources, their shares, and each one's loss.
q=$oracle/qwen2-tied
head -3 "$q/sequences.jsonl" >a.jsonl; tail -5 "$q/sequences.jsonl" >b.jsonl
"$distill" train a.jsonl=0.75 b.jsonl=0.25 -m "$q" -o mix --max-steps 6 --batch-size 4 -q >out.txt 2>err.txt; result $? "two sources with weights"
is "$(grep -c '"source_loss":\[[0-9.]*,[0-9.]*\]' mix/metrics.jsonl)" 6 "each one's loss stands apart"
grep -q '^# source_0: a.jsonl, 3 lessons, .*weight 0.75' mix/config.yaml; result $? "the record names them"
refused 64 'give every one its share' "a weight on one alone is refused" train a.jsonl=0.75 b.jsonl -m "$q" -o mix2
refused 64 'weight above 0' "a weight of nothing is refused" train a.jsonl=0 b.jsonl=1 -m "$q" -o mix2
# Rows too long: cut, left out, refused; masks of zeros.
"$distill" train a.jsonl b.jsonl -m "$q" -o cut -n --json --max-seq-length 40 --long-rows cut >out.txt 2>err.txt
grep -qE '"dropped":0,"cut":[1-9]' out.txt; result $? "--long-rows cut counts"
"$distill" train a.jsonl b.jsonl -m "$q" -o cut -n --json --max-seq-length 40 >out.txt 2>err.txt
grep -qE '"dropped":[1-9][0-9]*,"cut":0' out.txt; result $? "--long-rows drop counts"
refused 65 'max-seq-length is 40' "--long-rows refuse names the row" train a.jsonl b.jsonl -m "$q" -o cut -n --max-seq-length 40 --long-rows refuse
echo '{"tokens":[1,2,3,4],"loss":[0,0,0,0]}' >zero.jsonl
refused 65 'nothing to learn' "a mask of zeros is refused" train zero.jsonl -m "$q" -o zero

# From a study: a kept selection, weights from labels, a held-out split.
for i in 1 2 3 4 5 6 7 8 9; do
    s=train; [ $i -gt 6 ] && s=dev
    echo "{\"question\":\"What is $i and $i?\",\"answer\":\"$((2 * i))\",\"messages\":[{\"role\":\"user\",\"content\":\"What is $i and $i?\"},{\"role\":\"assistant\",\"content\":\"It is $((2 * i)).\"}],\"split\":\"$s\"}"
done >q.jsonl
grep '"train"' q.jsonl >q-train.jsonl; grep '"dev"' q.jsonl >q-dev.jsonl
"$distill" import s.study q-train.jsonl --split train --task math -q >out.txt 2>err.txt && "$distill" import s.study q-dev.jsonl --split dev --task math -q >out.txt 2>err.txt &&
    "$distill" label s.study -q >out.txt 2>err.txt; result $? "a study"
"$distill" export s.study good.jsonl --select "split = 'train' and finished = 1 and sample_id < 5" --save good -q >out.txt 2>err.txt; result $? "keeps a selection"
"$distill" train s.study -m "$q" -o sel --select @good --weight "case when sample_id = 1 then 0 when sample_id = 2 then 0.5 else 1 end" --max-steps 4 --batch-size 2 --eval-split dev \
    --eval-every 2 --eval-generate 2 --eval-max-tokens 8 --general "$here/golden/chatml.jinja" --general-tokens 60 -q >out.txt 2>err.txt; result $? "trains from the selection, weighed and measured"
grep -q '^# source_0: s.study, 3 lessons, .*selection [0-9a-f]' sel/config.yaml; result $? "weight 0 leaves a row out; the selection's hash is on record"
is "$(grep -cE '^\{"step":[024],"eval_loss":[0-9.]+,"general_loss":[0-9.]+,"pass@1":[0-9.]+,"questions":2\}$' sel/evals.jsonl)" 3 "evaluated before, between and after"
refused 66 'no selection named nope' "an unknown selection is refused" train s.study -m "$q" -o sel2 --select @nope
refused 64 'select:' "a weight that is no expression is refused" train s.study -m "$q" -o sel2 --weight 'sample_id +'
refused 64 'that is what is learned' "the train split is not held out" train s.study -m "$q" -o sel2 --eval-split train
refused 64 'needs --eval-every' "patience needs evaluations" train s.study -m "$q" -o sel2 --eval-split dev --patience 2
# Patience ends a run that only gets worse; the result is of the best evaluation.
"$distill" train a.jsonl -m "$q" -o early --max-steps 40 --batch-size 3 --learning-rate 0.3 --schedule constant --eval-data b.jsonl --eval-every 2 --patience 3 --json -q >out.txt 2>err.txt; result $? "early stop"
grep -q '"stopped_early":true' out.txt && [ "$(wc -l <early/metrics.jsonl)" -lt 40 ]; result $? "training ended before its last update"
best=$(grep -oE '"result_step":[0-9]+' out.txt | cut -d: -f2)
[ -d "early/checkpoints/step-$best" ]; result $? "the best checkpoint is kept"
"$distill" train a.jsonl -m "$q" -o early --max-steps 40 --batch-size 3 --learning-rate 0.3 --schedule constant --eval-data b.jsonl --eval-every 2 --patience 3 --json -q >again.txt 2>err.txt
is "$(grep -oE '"(updates|result_step)":[0-9]+|"stopped_early":true' again.txt | tr '\n' ' ')" "$(grep -oE '"(updates|result_step)":[0-9]+|"stopped_early":true' out.txt | tr '\n' ' ')" "run again, it has ended"

# Curves.
"$distill" curves mix sel early >out.txt 2>err.txt; result $? "curves on a terminal"
grep -q 'sel: 4 updates' out.txt; result $? "... name the runs"
"$distill" curves mix sel early -o c.svg -q >out.txt 2>err.txt && "$distill" curves mix sel -o c.html -q >out.txt 2>err.txt; result $? "curves as SVG and HTML"
{ head -c 4 c.svg | grep -q '<svg' && tail -1 c.svg | grep -q '</svg>' && ! grep -qE 'nan|inf|href|src=|url\(' c.svg c.html; }; result $? "complete in themselves"
if command -v xmllint >/dev/null; then xmllint --noout c.svg 2>err.txt; result $? "well-formed"; fi
refused 64 'ends in .svg or .html' "another kind of file is refused" curves mix -o c.png
refused 66 'no metrics.jsonl' "a folder that is no run is refused" curves base
echo "1..$n"
exit $failed
