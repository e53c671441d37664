/* distill/cli/main.c - the program's entry. All else is in the archive, where tests reach it. */
#include "distill/cli/cli.h"

int main(int argc, char **argv) { return kd_cli_main(argc, argv); }
