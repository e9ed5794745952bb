/* The application's loop: how it comes round, when it takes frames, and what it tells the library. */
#include "habits.h"

#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

/* Frames that are taken before the loop goes on, where all are taken. */
enum { MOST_FRAMES = 1024 };

/* CPU time of this thread when it went into the library. */
static _Thread_local int64_t entered;

/* Around every call of the library: the mutex, and how long the call works. */
static void lock(App *app)
{
    if (app->habits.threads == MUTEX) {
        pthread_mutex_lock(&app->mutex);
    }
    entered = thread_ns();
}

static void unlock(App *app)
{
    int64_t took = (thread_ns() - entered) / 1000000;
    if (took > atomic_load(&app->longest_call)) {
        atomic_store(&app->longest_call, took);
    }
    if (app->habits.threads == MUTEX) {
        pthread_mutex_unlock(&app->mutex);
    }
}

static bool loop_takes_frames(App *app)
{
    return app->habits.threads == ONE || app->habits.threads == REQUESTS;
}

/* Gives the library one frame, or all that wait; returns their number. */
static int take_frames(App *app)
{
    static uint8_t frame[LONGEST_FRAME];
    int most = app->habits.one_frame ? 1 : MOST_FRAMES, taken = 0;
    while (taken < most) {
        size_t len = link_receive(app, frame);
        if (len == 0) {
            break;
        }
        taken++;
        lock(app);
        app->library.input(app->slirp, frame, (int)len);
        unlock(app);
    }
    return taken;
}

/* The other thread: a virtual CPU that hands its frames over itself, or asks the loop's thread to do so. */
static void *frame_thread(void *opaque)
{
    App *app = opaque;
    static uint8_t frame[LONGEST_FRAME];
    while (!atomic_load(&app->stop)) {
        struct pollfd one = { .fd = app->inlet, .events = POLLIN };
        if (poll(&one, 1, 50) <= 0) {
            continue;
        }
        if (clock_paused(app)) {
            usleep(1000);
            continue;
        }
        if (app->habits.threads == REQUESTS) {
            ssize_t len = read(app->inlet, frame, sizeof(frame));
            if (len > 0) {
                queue_put(&app->requests, frame, (size_t)len);
                wake_up(app);
            }
            continue;
        }
        size_t len = link_receive(app, frame);
        if (len > 0) {
            lock(app);
            app->library.input(app->slirp, frame, (int)len);
            unlock(app);
        }
    }
    return NULL;
}

static void drain_wake(App *app)
{
    uint64_t count;
    (void)!read(app->wake, &count, sizeof(count));
}

static void fill(App *app, uint32_t *timeout)
{
    uint32_t before = *timeout;
    lock(app);
    app->library.fill(app->slirp, timeout, watch_add, app);
    unlock(app);
    if (*timeout > before) {
        violation("fill raises the timeout from %u to %u", before, *timeout);
    }
}

static void poll_library(App *app, bool select_error)
{
    lock(app);
    app->library.poll(app->slirp, select_error, watch_seen, app);
    unlock(app);
    atomic_store(&app->polled, true);
}

static void add_forwards(App *app)
{
    if (atomic_load(&app->add_forwards) && !app->forwarded) {
        app->forwarded = true;
        lock(app);
        instance_forward(app);
        unlock(app);
        say("forwarded");
    }
}

/* One round of a loop that sleeps for as long as the library lets it. */
static void sleeping_round(App *app)
{
    const Habits *habits = &app->habits;
    uint32_t timeout = habits->longest > 0 ? habits->longest : UINT32_MAX;
    bool frames_now = loop_takes_frames(app) && !clock_paused(app);
    lock(app);
    uint32_t next = timers_run(app);
    unlock(app);
    timeout = next < timeout ? next : timeout;
    watch_clear(app);
    watch_own(app, app->wake);
    if (frames_now && habits->threads == ONE) {
        watch_own(app, app->inlet);
    }
    if (!habits->forwards_between) {
        add_forwards(app);
    }
    fill(app, &timeout);
    if (habits->fills_twice) {
        size_t own = frames_now && habits->threads == ONE ? 2 : 1;
        app->watched_len = own;
        fill(app, &timeout);
    }
    if (habits->clock == PAUSES && timeout > 10) {
        timeout = 10; /* the virtual machine may go on in the meantime */
    }
    int found = watch_wait(app, timeout);
    if (habits->forwards_between) {
        add_forwards(app);
    }
    if (watch_own_ready(app, app->wake)) {
        drain_wake(app);
    }
    int taken = 0;
    if (frames_now && (habits->threads == REQUESTS || watch_own_ready(app, app->inlet))) {
        taken = take_frames(app);
    }
    bool select_error = found < 0 || (habits->error_on_timeout && found == 0) || (habits->error_after_frame && taken > 0);
    if (found == 0 && habits->skips_on_timeout) {
        return;
    }
    poll_library(app, select_error);
}

/* One tick of a loop that never sleeps in the library's name: a millisecond for frames, then a round without waiting. */
static void ticking_round(App *app)
{
    int64_t end = monotonic_ns() + 1000000;
    for (int64_t left; (left = end - monotonic_ns()) > 0 && !atomic_load(&app->stop);) {
        struct pollfd own[] = { { .fd = app->wake, .events = POLLIN },
                                { .fd = loop_takes_frames(app) && !clock_paused(app) ? app->inlet : -1, .events = POLLIN } };
        struct timespec time = { .tv_nsec = left };
        if (ppoll(own, 2, &time, NULL) <= 0) {
            break;
        }
        if (own[0].revents != 0) {
            drain_wake(app);
        }
        if (own[1].revents != 0) {
            take_frames(app);
        }
    }
    add_forwards(app);
    lock(app);
    timers_run(app);
    unlock(app);
    uint32_t timeout = 0;
    watch_clear(app);
    fill(app, &timeout);
    int found = app->watched_len > 0 ? watch_wait(app, 0) : 0;
    if (found == 0 && app->habits.skips_on_timeout) {
        return;
    }
    poll_library(app, found < 0 || (app->habits.error_on_timeout && found == 0));
}

void loop_run(App *app)
{
    bool second = app->habits.threads != ONE;
    if (second && pthread_create(&app->frame_thread, NULL, frame_thread, app) != 0) {
        violation("no second thread");
        return;
    }
    while (!atomic_load(&app->stop)) {
        atomic_fetch_add(&app->rounds, 1);
        if (app->habits.pace == TICKS) {
            ticking_round(app);
        } else {
            sleeping_round(app);
        }
    }
    if (second) {
        pthread_join(app->frame_thread, NULL);
    }
}
