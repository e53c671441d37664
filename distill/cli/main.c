/* distill/cli/main.c - the command's first words: version. The table of commands is next. */
#include <stdio.h>
#include <string.h>

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "--version") == 0) {
        puts("distill " KD_VERSION);
        return 0;
    }
    fputs("distill: no command yet\n", stderr);
    return 64;
}
