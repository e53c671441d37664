# distill - one binary, built room by room. The floors are stated once, here: each room is an archive, and a test links its own
# room's archive and those below, so a line that reaches upwards does not link.
#   make [MODE=release|debug|asan|tsan] [B=dir]   make help
MODE    ?= release
B       ?= build/$(MODE)
CC      ?= cc
AR      ?= ar
PREFIX  ?= /usr/local
VERSION := 0.1.0

ROOMS := distill/base distill/math distill/format distill/model distill/engine datasets teacher student convert distill/cli
below_distill/base   :=
below_distill/math   := distill/base
below_distill/format := distill/base
below_distill/model  := distill/math distill/format distill/base
below_distill/engine := distill/model $(below_distill/model)
below_datasets       := distill/engine $(below_distill/engine)
below_teacher        := datasets $(below_datasets)
below_student        := datasets $(below_datasets)
below_convert        := datasets $(below_datasets)
below_distill/cli    := teacher student convert datasets $(below_datasets)

# What each room links from outside.
libs_distill/base := -lcjson -lz -lpcre2-8 -lutf8proc -lpthread -lm
# OpenBLAS is loaded when the first product asks for it (distill/math/gemm.c). By rpath in its threaded build, whatever the system's
# alternative is: our workers call it at once, each on its own thread, and the serial build has no locks (measured, Debian 12: up to 98 of
# 160 000 products wrong with 8 callers; the threaded build, set to one thread: none).
BLASDIR := $(firstword $(wildcard /usr/lib/*/openblas-pthread))
libs_distill/math := $(BLASDIR:%=-Wl,-rpath,%)
libs_datasets     := -lsqlite3 -lmpfr -lgmp -lseccomp
libs_distill/cli  := -lyaml -lmicrohttpd

WARN   := -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wmissing-prototypes -Wstrict-prototypes -Wno-psabi -Wno-missing-field-initializers
ifdef CI
WARN   += -Werror
endif
FLAGS_release := -O2 -g -DNDEBUG
FLAGS_debug   := -O0 -g3
FLAGS_asan    := -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=undefined
FLAGS_fuzz    := -O1 -g -fsanitize=fuzzer-no-link,address,undefined # scripts/fuzz.sh, by clang
FLAGS_tsan    := -O1 -g -fno-omit-frame-pointer -fsanitize=thread
CFLAGS  += -std=c11 -D_GNU_SOURCE -I. $(WARN) $(FLAGS_$(MODE)) -fno-math-errno -ffp-contract=off -DKD_VERSION='"$(VERSION)"'
LDFLAGS += $(FLAGS_$(MODE))

SRC      := $(foreach r,$(ROOMS),$(wildcard $(r)/*.c))
MAIN     := distill/cli/main.c
lib       = $(B)/lib/$(subst /,_,$(1)).a
objs      = $(patsubst %.c,$(B)/obj/%.o,$(filter-out $(MAIN),$(wildcard $(1)/*.c)))
archives  = $(call lib,$(1)) $(foreach r,$(below_$(1)),$(call lib,$(r)))
libs_of   = $(foreach r,$(1) $(below_$(1)),$(libs_$(r)))

# tests/ROOM/test_X.c -> $(B)/tests/ROOM/test_X, linked against ROOM and what is below it; tests/ROOM/fuzz_X.c likewise.
TESTSRC  := $(foreach r,$(ROOMS),$(wildcard tests/$(r)/test_*.c))
TESTS    := $(TESTSRC:tests/%.c=$(B)/tests/%)
FUZZSRC  := $(foreach r,$(ROOMS),$(wildcard tests/$(r)/fuzz_*.c))
REPLAYS  := $(FUZZSRC:tests/%.c=$(B)/tests/%)
BENCHSRC := $(foreach r,$(ROOMS),$(wildcard tests/$(r)/bench_*.c))
BENCHES  := $(BENCHSRC:tests/%.c=$(B)/tests/%)
SCRIPTS  := $(sort $(wildcard tests/*/test_*.sh tests/*/*/test_*.sh))

all: $(B)/distill

help:
	@echo "make all      build $(B)/distill             make demo     the whole pipe on a real model (setup included)"
	@echo "make test     setup, build, every test       make check    tests under ASan+UBSan, clang-tidy, clang-format"
	@echo "make fuzz     readers under libFuzzer (SECONDS_EACH=60)"
	@echo "make bench    speed beside the peers         make soak     slow proofs: random kills, long fuzzing"
	@echo "make install  DESTDIR= PREFIX=$(PREFIX)      MODE=release|debug|asan|tsan   B=$(B)"

# Whole archives: a name that two rooms define is an error here, not a guess.
$(B)/distill: $(B)/obj/$(MAIN:.c=.o) $(call archives,distill/cli)
	$(CC) $(LDFLAGS) -o $@ $(filter %.o,$^) -Wl,--whole-archive $(filter %.a,$^) -Wl,--no-whole-archive $(call libs_of,distill/cli)

# gcc takes a file's instruction set from the file itself (ops_vec.h); clang wants it from the command line.
ifneq (,$(findstring clang,$(CC)))
avx2 := -mavx2 -mfma -mf16c
avx512 := $(avx2) -mavx512f -mavx512bw -mavx512vl -mavx512dq
$(B)/obj/%_avx2.o: CFLAGS += $(avx2)
$(B)/obj/%_avxvnni.o: CFLAGS += $(avx2) -mavxvnni
$(B)/obj/%_avx512.o: CFLAGS += $(avx512)
$(B)/obj/%_avx512vnni.o: CFLAGS += $(avx512) -mavx512vnni
$(B)/obj/%_bf16.o: CFLAGS += $(avx512) -mavx512bf16
endif

$(B)/obj/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -MMD -MP -c -o $@ $<

define room
$(call lib,$(1)): $(call objs,$(1))
	@mkdir -p $$(@D)
	@rm -f $$@
	$(AR) rcs $$@ $$^
$(B)/tests/$(1)/%: tests/$(1)/%.c $(call archives,$(1))
	@mkdir -p $$(@D)
	$(CC) $(CFLAGS) -Wno-missing-prototypes -MMD -MP -MF $$@.d -o $$@ $$< $(LDFLAGS) $$(KD_FUZZMAIN) $$(call archives,$(1)) -lcmocka $$(call libs_of,$(1))
# libs-ROOM builds what a program of that room links, link-ROOM prints it (scripts/fuzz.sh)
libs-$(1): $(call archives,$(1))
link-$(1):
	@echo $(call archives,$(1)) $(call libs_of,$(1))
# make test-distill/base runs one room's tests
test-$(1): $(filter $(B)/tests/$(1)/%,$(TESTS) $(REPLAYS)) $(if $(filter distill/cli,$(1)),$(B)/distill)
	tests/run.sh $(B) $$(filter $(B)/tests/$(1)/%,$$^) $(filter tests/$(1)/%,$(SCRIPTS))
endef
$(foreach r,$(ROOMS),$(eval $(call room,$(r))))
# Outside a fuzzing build, an entry point is linked with a main that replays its corpus.
$(REPLAYS): KD_FUZZMAIN := tests/fuzz_replay.c
$(REPLAYS): tests/fuzz_replay.c

format:
	git ls-files '*.c' '*.h' | xargs clang-format -i

build-tests: all $(TESTS) $(REPLAYS)
setup:
	scripts/setup.sh
# On every processor, unless whoever called make said how many.
everywhere = $(if $(findstring jobserver,$(MAKEFLAGS)),,-j$(shell nproc))
# The README's test command: everything a stranger's machine needs, then every test.
test: setup
	$(MAKE) $(everywhere) build-tests
	tests/run.sh $(B) $(TESTS) $(REPLAYS) $(SCRIPTS)
check:
	scripts/check.sh
fuzz:
	scripts/fuzz.sh
bench: all $(BENCHES)
	scripts/bench.sh $(B)
soak: all
	scripts/soak.sh $(B)
demo: setup
	$(MAKE) $(everywhere) all
	scripts/demo.sh $(B)
install: all
	install -D -m 755 $(B)/distill $(DESTDIR)$(PREFIX)/bin/distill
clean:
	rm -rf build

.PHONY: all help test check fuzz bench soak demo setup install clean build-tests format $(ROOMS:%=test-%) $(ROOMS:%=libs-%) $(ROOMS:%=link-%)
.SECONDARY:
-include $(SRC:%.c=$(B)/obj/%.d) $(TESTS:%=%.d) $(REPLAYS:%=%.d) $(BENCHES:%=%.d)
