/* student/checkpoint.h - the state of a training run on disk: trained values, optimizer, place in the data. Leans on trainer.h, format/safetensors.h.
 * RUN/checkpoints/step-N/ holds trained.safetensors, optimizer.safetensors, state.json and, written last, MANIFEST (sha256 and name of each).
 * A folder appears whole (made under another name, synced, renamed) or not at all; one whose bytes do not match its MANIFEST is passed over. */
#ifndef KD_STUDENT_CHECKPOINT_H
#define KD_STUDENT_CHECKPOINT_H

#include "student/trainer.h"

/* Totals that go on with a run. */
typedef struct {
    uint64_t step, tokens, loss_tokens;
} kd_progress_state;

/* Writes step-N under dir (RUN/checkpoints), then removes all but the newest keep (0 counts as 1) and the one of update `spare` (0: none). There already: nothing to do.
 * Errors: KD_ECREATE, KD_EIO (disk full), KD_ENOMEM; what was there stays. */
kd_code kd_checkpoint_save(kd_trainer *t, const char *dir, const kd_progress_state *s, unsigned keep, uint64_t spare, kd_err *e);
/* Puts the newest sound checkpoint into t; s->step = 0 if there is none. skipped (or NULL) counts damaged ones passed over.
 * Errors: KD_EFORMAT when it is of another shape of training; KD_EIO. */
kd_code kd_checkpoint_load(kd_trainer *t, const char *dir, kd_progress_state *s, unsigned *skipped, kd_err *e);

/* Puts the checkpoint of that update into t. Errors: KD_EFORMAT it is not there, or damaged. */
kd_code kd_checkpoint_load_step(kd_trainer *t, const char *dir, uint64_t step, kd_err *e);

/* The result: PEFT's adapter folder, or config.json and model.safetensors (f32, shards of 5 GB) in Hugging Face's names. base: what the adapter
 * names as its base. The folder appears whole. */
kd_code kd_save_adapter(kd_trainer *t, const kd_model *m, const kd_train_method *method, const char *dir, const char *base, kd_err *e);
kd_code kd_save_model(kd_trainer *t, const kd_model *m, const char *dir, kd_err *e);

#endif
