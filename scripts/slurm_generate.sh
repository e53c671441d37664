#!/usr/bin/env bash
# An example of a Slurm array: each task asks for a share of the questions into a study of its own, and the last step joins them.
#   split -n r/64 --numeric-suffixes --additional-suffix=.jsonl questions.jsonl shard-      # 64 files, a line to each in turn
#   sbatch --array=0-63 scripts/slurm_generate.sh                                           # URL, MODEL and DISTILL_API_KEY in the environment
#   distill merge all.study study-*.study                                                   # again and again, while tasks still run, if you like
# A task that is requeued goes on where it was: the study is its state. Sharing one study over NFS is not needed, and not wise.
#SBATCH --job-name=distill-generate
#SBATCH --cpus-per-task=1
#SBATCH --mem=1G
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --signal=TERM@120
set -eu
n=$(printf '%02d' "${SLURM_ARRAY_TASK_ID:?run by sbatch --array}")
distill=${DISTILL:-distill}
"$distill" import "study-$n.study" "shard-$n.jsonl" --task math --quiet
# TERM@120: distill waits for what is in flight, saves, and leaves with 143; exec, so that it is the one to get the signal.
exec "$distill" generate "study-$n.study" --teacher "${URL:?the base URL of the API}" --teacher-model "${MODEL:?its model}" \
    --samples "${SAMPLES:-4}" --max-tokens "${MAX_TOKENS:-4096}" --concurrency "${CONCURRENCY:-64}"
