/* What is forbidden once the network is set up. */
#include "habits.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#define DENY(number, result) \
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1), BPF_STMT(BPF_RET | BPF_K, result)

void sandbox_enter(enum sandbox sandbox)
{
    /* slirp4netns is killed at these. */
    struct sock_filter kills[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        DENY(SYS_execve, SECCOMP_RET_KILL_PROCESS),
        DENY(SYS_execveat, SECCOMP_RET_KILL_PROCESS),
        DENY(SYS_prctl, SECCOMP_RET_KILL_PROCESS),
        DENY(SYS_unshare, SECCOMP_RET_KILL_PROCESS),
        DENY(SYS_setns, SECCOMP_RET_KILL_PROCESS),
        DENY(SYS_chroot, SECCOMP_RET_KILL_PROCESS),
        DENY(SYS_mount, SECCOMP_RET_KILL_PROCESS),
        DENY(SYS_ptrace, SECCOMP_RET_KILL_PROCESS),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    /* As Capsicum's capability mode: nothing has a name any more. */
    struct sock_filter files[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
#ifdef SYS_open
        DENY(SYS_open, SECCOMP_RET_ERRNO | EPERM),
        DENY(SYS_stat, SECCOMP_RET_ERRNO | EPERM),
#endif
        DENY(SYS_openat, SECCOMP_RET_ERRNO | EPERM),
        DENY(SYS_statx, SECCOMP_RET_ERRNO | EPERM),
        DENY(SYS_execve, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = { .len = sizeof(kills) / sizeof(kills[0]), .filter = kills };
    if (sandbox == NO_FILES) {
        program = (struct sock_fprog){ .len = sizeof(files) / sizeof(files[0]), .filter = files };
    }
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0) {
        perror("seccomp");
        exit(2);
    }
}
