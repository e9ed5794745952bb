/* What the application's clock tells. */
#include "habits.h"

#include <time.h>

enum { MS = 1000000, STEP_MS = 150, PAUSE_MS = 50, PERIOD_MS = 250 };

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
    case JUMPS: /* an hour forward, then back again */
        now = read_clock(CLOCK_REALTIME) + (passed / MS / STEP_MS % 2 ? 3600ll * 1000 * MS : 0);
        break;
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
