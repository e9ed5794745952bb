/*
 * The guest's end: a tap in the network namespace that the program runs in, and the command that uses it. The program
 * ends with the command, and the command with the program.
 */
#ifndef TAP_H
#define TAP_H

#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { FRAME_MAX = 65536 };

static int open_tap(const char *name)
{
    struct ifreq request = { .ifr_flags = IFF_TAP | IFF_NO_PI };
    int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
    snprintf(request.ifr_name, IFNAMSIZ, "%s", name);
    if (fd < 0 || ioctl(fd, TUNSETIFF, &request) < 0) {
        perror("tap");
        exit(2);
    }
    return fd;
}

static pid_t command = -1;

static void child_ended(int number)
{
    (void)number;
    /* It may have been another child. */
    if (waitpid(command, NULL, WNOHANG) == command) {
        _exit(0);
    }
}

static void start_command(char **words)
{
    signal(SIGCHLD, child_ended);
    pid_t parent = getpid();
    switch (command = fork()) {
    case -1:
        perror("fork");
        exit(2);
    case 0:
        signal(SIGCHLD, SIG_DFL);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent) {
            _exit(2);
        }
        execvp(words[0], words);
        perror(words[0]);
        _exit(2);
    }
}

#endif
