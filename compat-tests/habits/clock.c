/* What the application's clock tells. */
#include "habits.h"

#include <time.h>

enum { MS = 1000000, STEP_MS = 500, PAUSE_MS = 50, PERIOD_MS = 250 };

static int64_t read_clock(clockid_t id)
{
    struct timespec now;
    clock_gettime(id, &now);
    return (int64_t)now.tv_sec * 1000 * MS + now.tv_nsec;
}

int64_t monotonic_ns(void)
{
    return read_clock(CLOCK_MONOTONIC);
}

int64_t thread_ns(void)
{
    return read_clock(CLOCK_THREAD_CPUTIME_ID);
}

static int64_t since_start(App *app)
{
    return monotonic_ns() - app->started;
}

bool clock_paused(App *app)
{
    return app->habits.clock == PAUSES && since_start(app) / MS % PERIOD_MS < PAUSE_MS;
}

int64_t clock_ns(App *app)
{
    int64_t passed = since_start(app), now = app->started + passed;
    switch (app->habits.clock) {
    case MONOTONIC:
        break;
    case REAL:
        now = read_clock(CLOCK_REALTIME);
        break;
    case JUMPS: { /* a laptop that sleeps for an hour, then for a day, and has its clock set back by as much */
        static const int64_t hours[] = { 0, 1, 25, 24 };
        now = read_clock(CLOCK_REALTIME) + hours[passed / MS / STEP_MS % 4] * 3600 * 1000 * MS;
        break;
    }
    case PAUSES: { /* runs for 200 of each 250 ms */
        int64_t phase = passed % (PERIOD_MS * (int64_t)MS) - PAUSE_MS * (int64_t)MS;
        now = passed / (PERIOD_MS * (int64_t)MS) * (PERIOD_MS - PAUSE_MS) * MS + (phase > 0 ? phase : 0);
        break;
    }
    case SLOW:
        now = passed / 10;
        break;
    case FAST:
        now = passed * 10;
        break;
    case STOPPED:
        now = 1000;
        break;
    case COARSE: /* 18.2 ticks a second, as a PC's */
        now = passed / (55ll * MS) * (55ll * MS);
        break;
    case ROUNDS: /* emulated time: a millisecond a round */
        now = (int64_t)atomic_load(&app->rounds) * MS;
        break;
    }
    return now + atomic_load(&app->clock_offset);
}
