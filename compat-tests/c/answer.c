/* Says that it is there, gives back what it is told, and ends with its input: a command for services.c where there is no shell. */
#include <stdio.h>

int main(void)
{
    int byte;
    printf("ready\n");
    fflush(stdout);
    while ((byte = getchar()) != EOF) {
        putchar(byte);
    }
    return 0;
}
