#include "runtime/meter.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <unwind.h>

#define HELPER_DEPTH_MAX 32 /* calls from compiled code down to the allocator */

void meter_init(struct meter *meter, size_t limit_bytes)
{
    *meter = (struct meter){
        .limit = limit_bytes, .job_limit = (int64_t)(limit_bytes / 4 * 3), .loan = limit_bytes};
}

/* ---- compiled code ---- */

struct walk {
    int depth;
    bool compiled;
};

static _Unwind_Reason_Code look_at_frame(struct _Unwind_Context *frame, void *owner)
{
    struct walk *walk = owner;
    Dl_info about;
    void *at = (void *)_Unwind_GetIP(frame); /* NOLINT(performance-no-int-to-ptr): that is what it is */
    walk->compiled = at && dladdr(at, &about) == 0; /* in no file: LuaJIT wrote it */
    return walk->compiled || ++walk->depth == HELPER_DEPTH_MAX ? _URC_NORMAL_STOP : _URC_NO_REASON;
}

/* Nothing that LuaJIT shows tells it, but the stack does. Asked only when memory has run out. */
static bool called_by_compiled_code(void)
{
    struct walk walk = {0};
    _Unwind_Backtrace(look_at_frame, &walk);
    return walk.compiled;
}

/* ---- the limit ---- */

static bool fits(const struct meter *meter, size_t more, size_t loan)
{
    return more <= meter->limit + loan && meter->used <= meter->limit + loan - more &&
           meter->job + (int64_t)more <= meter->job_limit + (int64_t)loan;
}

static bool meter_refuses(struct meter *meter, size_t more)
{
    if (!meter->in_job || fits(meter, more, 0))
        return false;
    meter->refused++;
    meter->wanted = more > meter->wanted ? more : meter->wanted;
    if (!meter->short_of_memory || !called_by_compiled_code())
        return true;
    if (!fits(meter, more, meter->loan))
        meter->exhausted();
    meter->short_of_memory();
    return false;
}

void *meter_alloc(void *owner, void *old, size_t old_bytes, size_t new_bytes)
{
    struct meter *meter = owner;
    if (new_bytes == 0) {
        free(old);
        meter->used -= old_bytes;
        meter->job -= (int64_t)old_bytes;
        return NULL;
    }
    if (new_bytes > old_bytes && meter_refuses(meter, new_bytes - old_bytes))
        return NULL;
    void *at = realloc(old, new_bytes);
    if (at) {
        meter->used += new_bytes - old_bytes;
        meter->job += (int64_t)(new_bytes - old_bytes);
    }
    return at;
}

void meter_enter(struct meter *meter, int64_t booked)
{
    meter->job = booked;
    meter->in_job = true;
    meter->refused = 0;
    meter->wanted = 0;
}

int64_t meter_leave(struct meter *meter)
{
    meter->in_job = false;
    return meter->job > 0 ? meter->job : 0;
}
