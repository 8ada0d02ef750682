// SPDX-License-Identifier: Apache-2.0
// Threads that carry out a job together.
//
// Chunks are claimed, not assigned: a thread that the system has pushed aside for a busy neighbour before it claimed something
// keeps nobody waiting, the others do its share. Claiming is one addition to `claims`, which holds how many chunks the present
// phase has and how many are taken; a claim at or beyond the end claims nothing, and needs to look at nothing else, so that a
// thread may come late, even after the job. Whoever completes the last chunk of a phase opens the next one:
//
//      present = next phase; done = 0; claims = {chunks, 0}; opened += 1, wake sleepers
//
// Nothing of a phase changes while a chunk of it is claimed and not done; that is what makes plain reads of `job` and `present`
// safe after a claim.
//
// Who finds nothing to claim waits for `opened` to change: it spins for a moment, because the next phase usually begins within
// microseconds, then sleeps in the kernel. A pool without work burns nothing. The waker asks the kernel only when somebody
// sleeps; both sides use sequentially consistent operations, so that either the waker sees the sleeper or the sleeper the
// change.
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "runtime/device/device.h"

#if defined(__x86_64__)
#include <immintrin.h>
#define PAUSE() _mm_pause()
#elif defined(__aarch64__)
#define PAUSE() __asm__ volatile("isb" : : : "memory")   // yield costs nothing on most processors, and would not last long enough
#else
#define PAUSE() atomic_signal_fence(memory_order_seq_cst)
#endif

enum {
    // pauses before sleeping: some fifty microseconds, a few times what a phase of a small model takes
    SPINS = 2000,
    CACHE_LINE = 64,
};

// What changes while a job runs shares a cache line: opening a phase and claiming in it then cost one transfer between cores, not
// one for each word.
struct RtPool {
    _Alignas(CACHE_LINE) _Atomic uint64_t claims;        // chunks of the present phase << 32 | claims made
    _Atomic uint32_t done;                               // chunks of the present phase
    _Atomic uint32_t opened;                             // changes whenever there is something new to see
    _Atomic uint32_t sleepers;
    uint32_t present;                                    // phase
    const RtJob *job;
    _Atomic bool finished;
    _Alignas(CACHE_LINE) _Atomic bool stop;
    uint32_t threads;
    int spins;                       // 0 when there are more threads than processors: whoever is waited for needs the waiter's
    struct Worker { RtPool *pool; uint32_t number; pthread_t thread; } *workers;   // [threads - 1]
};

// ---- waiting -------------------------------------------------------------------------------------------------

static void futex(_Atomic uint32_t *word, int operation, uint32_t value)
{
    syscall(SYS_futex, (uint32_t *)word, operation, value, NULL, NULL, 0);
}

// Returns once something was opened since `opened` was `old`.
static void await_change(RtPool *pool, uint32_t old)
{
    for (int i = 0; i < pool->spins; i++) {
        if (atomic_load_explicit(&pool->opened, memory_order_acquire) != old) return;
        PAUSE();
    }
    atomic_fetch_add(&pool->sleepers, 1);
    while (atomic_load(&pool->opened) == old) futex(&pool->opened, FUTEX_WAIT_PRIVATE, old);
    atomic_fetch_sub(&pool->sleepers, 1);
}

static void announce(RtPool *pool)
{
    atomic_fetch_add(&pool->opened, 1);
    if (atomic_load(&pool->sleepers)) futex(&pool->opened, FUTEX_WAKE_PRIVATE, INT_MAX);
}

// ---- phases --------------------------------------------------------------------------------------------------

static void open_phase(RtPool *pool, uint32_t phase)
{
    pool->present = phase;
    atomic_store_explicit(&pool->done, 0, memory_order_relaxed);
    atomic_store_explicit(&pool->claims, (uint64_t)pool->job->chunks[phase] << 32, memory_order_release);
    announce(pool);
}

static void finish(RtPool *pool)
{
    atomic_store(&pool->finished, true);
    announce(pool);
}

// Does one chunk, if there is one to claim.
static bool do_chunk(RtPool *pool, uint32_t thread)
{
    uint64_t claim = atomic_fetch_add_explicit(&pool->claims, 1, memory_order_acq_rel);
    uint32_t chunks = (uint32_t)(claim >> 32), chunk = (uint32_t)claim;
    if (chunk >= chunks) return false;
    uint32_t phase = pool->present;
    pool->job->run(pool->job->user, phase, chunk, thread);
    if (atomic_fetch_add_explicit(&pool->done, 1, memory_order_acq_rel) + 1 < chunks) return true;
    if (phase + 1 < pool->job->phase_count) open_phase(pool, phase + 1);
    else finish(pool);
    return true;
}

static void *worker_main(void *user)
{
    struct Worker *worker = user;
    RtPool *pool = worker->pool;
    while (!atomic_load(&pool->stop)) {
        // before looking for a chunk, so that none can be missed
        uint32_t opened = atomic_load_explicit(&pool->opened, memory_order_acquire);
        if (!do_chunk(pool, worker->number)) await_change(pool, opened);
    }
    return NULL;
}

static void run_alone(const RtJob *job)
{
    for (uint32_t phase = 0; phase < job->phase_count; phase++)
        for (uint32_t chunk = 0; chunk < job->chunks[phase]; chunk++) job->run(job->user, phase, chunk, 0);
}

void rt_pool_run(RtPool *pool, const RtJob *job)
{
    uint32_t widest = 0;
    for (uint32_t i = 0; i < job->phase_count; i++) widest = HD_MAX(widest, job->chunks[i]);
    if (pool->threads == 1 || widest <= 1) {
        run_alone(job);
        return;
    }
    atomic_store(&pool->finished, false);
    pool->job = job;
    open_phase(pool, 0);
    while (!atomic_load_explicit(&pool->finished, memory_order_acquire)) {
        uint32_t opened = atomic_load_explicit(&pool->opened, memory_order_acquire);
        if (!do_chunk(pool, 0) && !atomic_load_explicit(&pool->finished, memory_order_acquire)) await_change(pool, opened);
    }
}

// ---- threads -------------------------------------------------------------------------------------------------

static bool enough_processors(uint32_t threads)
{
    cpu_set_t mask;
    return sched_getaffinity(0, sizeof mask, &mask) || threads <= (uint32_t)CPU_COUNT(&mask);
}

static HdStatus *start_workers(RtPool *pool)
{
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);            // signals of the program go to its own threads
    HdStatus *status = NULL;
    for (uint32_t i = 1; i < pool->threads && !status; i++) {
        struct Worker *worker = &pool->workers[i - 1];
        *worker = (struct Worker){pool, i, 0};
        int error = pthread_create(&worker->thread, NULL, worker_main, worker);
        if (error) {
            status = hd_error(HD_LIMIT, "cannot start thread %u of %u: %s; ask for fewer threads", i + 1, pool->threads,
                              strerror(error));
            pool->threads = i;
        }
    }
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return status;
}

HdStatus *rt_pool_new(uint32_t threads, RtPool **out_pool)
{
    RtPool *pool = aligned_alloc(CACHE_LINE, hd_align_up(sizeof *pool, CACHE_LINE));
    if (!pool) return hd_error(HD_NO_MEMORY, "no memory for %zu bytes of a thread pool", sizeof *pool);
    memset((void *)pool, 0, sizeof *pool);
    pool->threads = threads;
    pool->spins = enough_processors(threads) ? SPINS : 0;
    pool->workers = hd_xcalloc(threads, sizeof *pool->workers);
    HdStatus *status = start_workers(pool);
    if (status) rt_pool_free(pool);
    else *out_pool = pool;
    return status;
}

void rt_pool_free(RtPool *pool)
{
    if (!pool) return;
    atomic_store(&pool->stop, true);
    announce(pool);
    for (uint32_t i = 1; i < pool->threads; i++) pthread_join(pool->workers[i - 1].thread, NULL);
    free(pool->workers);
    free(pool);
}
