/* The application's timers, of which the library has one. */
#include "habits.h"

enum { LATE_MS = 150 };

Timer *timer_make(App *app, SlirpTimerCb callback, SlirpTimerId id, void *opaque)
{
    for (int i = 0; i < MOST_TIMERS; i++) {
        Timer *timer = &app->timers[i];
        if (!timer->used) {
            *timer = (Timer){ .used = true, .callback = callback, .id = id, .opaque = opaque };
            if (atomic_load(&app->in_timer)) {
                violation("a timer is made inside a timer's callback");
            }
            return timer;
        }
    }
    violation("more than %d timers", MOST_TIMERS);
    return NULL;
}

/* The handle: a pointer, or a number that counts from 0, or NULL from those who have no timers. */
void *timer_handle(App *app, Timer *timer)
{
    switch (app->habits.timers) {
    case NO_TIMERS:
        return NULL;
    case IDS_FROM_ZERO:
        return (void *)(uintptr_t)(timer - app->timers);
    default:
        return timer;
    }
}

static Timer *timer_of(App *app, void *handle)
{
    switch (app->habits.timers) {
    case NO_TIMERS:
        if (handle != NULL) {
            violation("a timer handle of NULL comes back as %p", handle);
        }
        return NULL;
    case IDS_FROM_ZERO:
        if ((uintptr_t)handle < MOST_TIMERS) {
            return &app->timers[(uintptr_t)handle];
        }
        break;
    default:
        for (int i = 0; i < MOST_TIMERS; i++) {
            if (handle == &app->timers[i]) {
                return &app->timers[i];
            }
        }
    }
    violation("an unknown timer handle %p", handle);
    return NULL;
}

void timer_arm(App *app, void *handle, int64_t expires)
{
    Timer *timer = timer_of(app, handle);
    if (timer == NULL) {
        return;
    }
    if (!timer->used || timer->freed) {
        violation("a freed timer is armed");
    }
    /* Bochs links it into its list a second time, which makes a circle. */
    if (timer->armed) {
        violation("an armed timer is armed again");
    }
    timer->armed = true;
    timer->expires = expires;
}

void timer_drop(App *app, void *handle)
{
    Timer *timer = timer_of(app, handle);
    if (timer == NULL) {
        return;
    }
    if (atomic_load(&app->in_timer)) {
        violation("a timer is freed inside a timer's callback");
    }
    if (!atomic_load(&app->in_cleanup)) {
        violation("a timer is freed before cleanup");
    }
    if (!timer->used || timer->freed) {
        violation("a timer is freed twice");
    }
    timer->freed = true;
    /* DOSBox-X goes on looking at it. */
    if (app->habits.timers != KEEPS_FREED) {
        timer->used = timer->armed = false;
    }
}

int timers_left(App *app)
{
    int left = 0;
    for (int i = 0; i < MOST_TIMERS; i++) {
        left += app->timers[i].used && !app->timers[i].freed;
    }
    return left;
}

uint32_t timers_run(App *app)
{
    int64_t nearest = INT64_MAX, now = clock_ns(app) / 1000000;
    if (app->habits.timers == NEVER || app->habits.timers == NO_TIMERS) {
        return UINT32_MAX;
    }
    if (app->habits.timers == LATE) {
        now -= LATE_MS;
    }
    for (int i = 0; i < MOST_TIMERS; i++) {
        Timer *timer = &app->timers[i];
        if (!timer->used || !timer->armed || timer->freed) {
            continue;
        }
        if (timer->expires <= now) {
            timer->armed = false;
            atomic_store(&app->in_timer, true);
            if (timer->callback != NULL) {
                timer->callback(timer->opaque);
            } else {
                app->library.handle_timer(app->slirp, timer->id, timer->opaque);
            }
            atomic_store(&app->in_timer, false);
            /* Cartesi: what the callback armed is lost. */
            if (app->habits.timers == OVERWRITES) {
                timer->armed = false;
            }
        }
        if (timer->armed && timer->expires < nearest) {
            nearest = timer->expires;
        }
    }
    if (nearest == INT64_MAX) {
        return UINT32_MAX;
    }
    nearest -= now;
    return nearest < 0 ? 0 : nearest < UINT32_MAX ? (uint32_t)nearest : UINT32_MAX;
}
