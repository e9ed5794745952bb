/*
 * habits --list                             the rows, one a line
 * habits ROW LIBRARY GUEST [FORWARD...]     the application with the habits of this row
 *
 * GUEST is a process in the network namespace that gets the tap. A FORWARD is t, u (TCP, UDP) or 6 (TCP over IPv6) with
 * host port and guest port: t:8080:80. Words on standard input say what is to be done: `forward`, `status`,
 * `clock SECONDS` (forward), `cleanup`. Each is answered by one line.
 */
#include "habits.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { MOST_NOTES = 16, NOTE = 120, QUIET_MS = 60, LONGEST_CALL_MS = 500 };

static App app;
static pthread_mutex_t notes_lock = PTHREAD_MUTEX_INITIALIZER;
static char notes[MOST_NOTES][NOTE];
static int notes_len;

static void note(const char *kind, const char *text, va_list values)
{
    char line[NOTE];
    int at = snprintf(line, sizeof(line), "%s ", kind);
    vsnprintf(line + at, sizeof(line) - (size_t)at, text, values);
    pthread_mutex_lock(&notes_lock);
    bool known = notes_len == MOST_NOTES;
    for (int i = 0; i < notes_len; i++) {
        known = known || strcmp(notes[i], line) == 0;
    }
    if (!known) {
        strcpy(notes[notes_len++], line);
    }
    pthread_mutex_unlock(&notes_lock);
    if (!known) {
        say("%s", line);
    }
}

void violation(const char *text, ...)
{
    va_list values;
    va_start(values, text);
    note("violation", text, values);
    va_end(values);
}

void remark(const char *text, ...)
{
    va_list values;
    va_start(values, text);
    note("remark", text, values);
    va_end(values);
}

/* One line in one write, whichever thread it comes from. */
void say(const char *text, ...)
{
    char line[512];
    va_list values;
    va_start(values, text);
    int len = vsnprintf(line, sizeof(line) - 1, text, values);
    va_end(values);
    len = len < (int)sizeof(line) - 1 ? len : (int)sizeof(line) - 2;
    line[len] = '\n';
    (void)!write(1, line, (size_t)len + 1);
}

void wake_up(App *it)
{
    uint64_t one = 1;
    (void)!write(it->wake, &one, sizeof(one));
}

static void status(void)
{
    say("status rounds=%u in=%u out=%u%s", atomic_load(&app.rounds), atomic_load(&app.frames_in),
        atomic_load(&app.frames_out), atomic_load(&app.in_send) ? " inside send_packet" : "");
}

static void *control(void *opaque)
{
    char line[128];
    (void)opaque;
    while (fgets(line, sizeof(line), stdin) != NULL) {
        if (strncmp(line, "status", 6) == 0) {
            status();
        } else if (strncmp(line, "clock ", 6) == 0) {
            atomic_fetch_add(&app.clock_offset, atoll(line + 6) * 1000000000);
            wake_up(&app);
            say("clock");
        } else if (strncmp(line, "forward", 7) == 0) {
            atomic_store(&app.add_forwards, true);
            wake_up(&app);
        } else if (strncmp(line, "cleanup", 7) == 0) {
            atomic_store(&app.stop, true);
            wake_up(&app);
        }
    }
    _exit(0);
}

static int descriptors(void)
{
    int open = 0;
    for (int fd = 0; fd < MOST_DESCRIPTORS; fd++) {
        open += fcntl(fd, F_GETFD) != -1;
    }
    return open;
}

static DIR *tasks;

static int threads(void)
{
    int found = 0;
    rewinddir(tasks);
    for (struct dirent *one; (one = readdir(tasks)) != NULL;) {
        found += one->d_name[0] != '.';
    }
    return found;
}

static void check_what_is_left(int descriptors_before, int threads_before)
{
    int registered = 0;
    for (int fd = 0; fd < MOST_DESCRIPTORS; fd++) {
        registered += app.registered[fd];
    }
    if (registered > 0 && app.habits.callbacks & (UNREGISTER_FD | UNREGISTER_SOCKET)) {
        remark("%d descriptors were never unregistered", registered);
    }
    if (timers_left(&app) > 0 && app.habits.callbacks & TIMER_FREE && app.habits.timers != NO_TIMERS) {
        violation("a timer was never freed");
    }
    /* A call that comes too late comes from another thread, and nothing tells that there is none. */
    usleep(QUIET_MS * 1000);
    if (descriptors() != descriptors_before) {
        violation("%d descriptors are left open", descriptors() - descriptors_before);
    }
    if (threads() != threads_before) {
        violation("%d threads are left", threads() - threads_before);
    }
}

/*
 * Whether the row says something of the library's direct mode, in which the application watches every socket: not when it
 * has no place for them or cannot tell that a connection failed, not when another thread makes them and nobody wakes the
 * loop, not when it tells nothing of them for as long as frames come, and of single habits only those that have to do with
 * the loop.
 */
static bool direct_matters(const Habits *row, bool habit)
{
    bool other_thread = row->threads == MUTEX || row->threads == UNLOCKED;
    if (row->waits == WSA_POLLS || row->places > 0 || row->only_new || row->error_after_frame ||
        (other_thread && !row->wakes_on_notify && row->longest == 0)) {
        return false;
    }
    return !habit || (row->callbacks == ALL && row->clock == MONOTONIC && row->timers == RUN &&
                      row->sandbox == NO_SANDBOX && !row->short_lived_tables);
}

static void list(void)
{
    for (size_t i = 0; i < rows_len; i++) {
        const Habits *row = &rows[i];
        bool runs = row->callbacks & TIMER_MOD && row->timers != NEVER && row->timers != NO_TIMERS;
        printf("%s\t%s\t%s\t%s\t%zu\t%s\t%s\t%s\n", row->name, i < first_habit ? "consumer" : "habit",
               row->ipv4_only ? "4" : "46", !runs || row->ipv4_only ? "never" : row->timers == OVERWRITES ? "once" : "runs",
               row->mtu > 0 && !row->no_mru ? row->mtu : 1500,
               row->only_new                 ? "new"
               : !(row->callbacks & SEND)    ? "mute"
               : row->loses_every > 0 || row->link == DATAGRAMS || row->clock == JUMPS ? "loses"
                                             : "all",
               direct_matters(row, i >= first_habit) ? "direct" : "", row->text);
    }
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "--list") == 0) {
        list();
        return 0;
    }
    for (size_t i = 0; argc > 3 && i < rows_len; i++) {
        if (strcmp(rows[i].name, argv[1]) == 0) {
            app.habits = rows[i];
        }
    }
    if (app.habits.name == NULL) {
        fprintf(stderr, "usage: habits --list | habits ROW LIBRARY GUEST [FORWARD...]\n");
        return 2;
    }
    for (int i = 4; i < argc && app.forwards_len < 8; i++, app.forwards_len++) {
        if (sscanf(argv[i], "%c:%d:%d", &app.forwards[app.forwards_len].kind,
                   &app.forwards[app.forwards_len].host_port, &app.forwards[app.forwards_len].guest_port) != 3) {
            fprintf(stderr, "no forward: %s\n", argv[i]);
            return 2;
        }
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    pthread_mutex_init(&app.mutex, NULL);
    app.started = monotonic_ns();
    app.wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    tasks = opendir("/proc/self/task");
    link_open(&app, atoi(argv[3]));
    library_load(&app.library, argv[2]);
    pthread_t controller;
    if (app.wake < 0 || tasks == NULL || pthread_create(&controller, NULL, control, NULL) != 0) {
        perror("setting up");
        return 2;
    }
    int descriptors_before = descriptors(), threads_before = threads();

    instance_new(&app);
    if (app.slirp == NULL) {
        return 2;
    }
    if (app.habits.sandbox != NO_SANDBOX) {
        sandbox_enter(app.habits.sandbox);
    }
    say("ready");
    if (!app.habits.only_new) {
        loop_run(&app);
    }
    if (app.habits.callbacks & UNREGISTER_FD && app.habits.callbacks & SEND) {
        free(app.library.connection_info(app.slirp));
    }
    atomic_store(&app.in_cleanup, true);
    app.library.cleanup(app.slirp);
    atomic_store(&app.cleaned, true);
    atomic_store(&app.in_cleanup, false);
    check_what_is_left(descriptors_before, threads_before);
    if (atomic_load(&app.longest_call) > LONGEST_CALL_MS) {
        violation("a call of more than %d ms", LONGEST_CALL_MS);
    }
    say("cleaned longest=%lld", (long long)atomic_load(&app.longest_call));
    /* The driver looks at what is left, and closes our standard input. */
    pthread_join(controller, NULL);
    return 0;
}
