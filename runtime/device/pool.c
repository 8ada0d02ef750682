// SPDX-License-Identifier: Apache-2.0
// Threads that carry out a step together.
//
// Two words are waited on: `ticket` says that a run has begun (its low bits hold how many threads take part, so that a thread needs to read nothing else
// to know whether it is one of them), `phase` says that a barrier has opened. A waiter spins for a moment, because the next stage usually begins within
// microseconds, then sleeps in the kernel: a pool without work burns nothing, and beside busy neighbours a waiter gives its core away. A waker
// asks the kernel only when somebody sleeps; both sides use sequentially consistent operations, so that either the waker sees the sleeper or the sleeper the change.
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <pthread.h>

#include "runtime/device/device.h"

#if defined(__x86_64__)
#include <immintrin.h>
#define PAUSE() _mm_pause()
#else
#define PAUSE() atomic_signal_fence(memory_order_seq_cst)
#endif

enum {
    SPINS = 2000,                    // pauses before sleeping: some fifty microseconds, a few times what a stage of a small model takes
    TICKET_BITS = 10,                // low bits of the ticket: participants of the run
    CACHE_LINE = 64,
};
_Static_assert(HEDDLE_MAX_THREADS < 1 << TICKET_BITS, "the number of participants fits the ticket");

// A word that threads wait on, in a cache line of its own.
typedef struct Word { _Alignas(CACHE_LINE) _Atomic uint32_t value, sleepers; } Word;

struct RtPool {
    Word ticket, phase;
    _Alignas(CACHE_LINE) _Atomic uint32_t arrived;
    _Alignas(CACHE_LINE) _Atomic bool stop;
    uint32_t participants;           // of the present run
    void (*work)(void *user, uint32_t thread);
    void *user;
    uint32_t threads;
    int spins;                       // 0 when there are more threads than processors: whoever is waited for needs the waiter's
    struct Worker { RtPool *pool; uint32_t number; pthread_t thread; } *workers;   // [threads - 1]
};

// ---- waiting -------------------------------------------------------------------------------------------------

static void futex(_Atomic uint32_t *word, int operation, uint32_t value) { syscall(SYS_futex, (uint32_t *)word, operation, value, NULL, NULL, 0); }

// Returns the value of `word` once it is no longer `old`.
static uint32_t await_change(Word *word, uint32_t old, int spins)
{
    uint32_t now;
    for (int i = 0; i < spins; i++) {
        if ((now = atomic_load_explicit(&word->value, memory_order_acquire)) != old) return now;
        PAUSE();
    }
    atomic_fetch_add(&word->sleepers, 1);
    while ((now = atomic_load(&word->value)) == old) futex(&word->value, FUTEX_WAIT_PRIVATE, old);
    atomic_fetch_sub(&word->sleepers, 1);
    return now;
}

static void change(Word *word, uint32_t value)
{
    atomic_store(&word->value, value);
    if (atomic_load(&word->sleepers)) futex(&word->value, FUTEX_WAKE_PRIVATE, INT_MAX);
}

void rt_pool_barrier(RtPool *pool)
{
    uint32_t phase = atomic_load_explicit(&pool->phase.value, memory_order_relaxed);   // cannot change before this thread has arrived
    if (atomic_fetch_add_explicit(&pool->arrived, 1, memory_order_acq_rel) + 1 < pool->participants) {
        await_change(&pool->phase, phase, pool->spins);
        return;
    }
    atomic_store_explicit(&pool->arrived, 0, memory_order_relaxed);
    change(&pool->phase, phase + 1);
}

// ---- threads -------------------------------------------------------------------------------------------------

static void *worker_main(void *user)
{
    struct Worker *worker = user;
    RtPool *pool = worker->pool;
    for (uint32_t ticket = 0;;) {
        ticket = await_change(&pool->ticket, ticket, pool->spins);
        if (atomic_load(&pool->stop)) return NULL;
        if (worker->number < (ticket & ((1u << TICKET_BITS) - 1))) pool->work(pool->user, worker->number);
    }
}

void rt_pool_run(RtPool *pool, uint32_t participants, void (*work)(void *user, uint32_t thread), void *user)
{
    HD_ASSERT(participants >= 1 && participants <= pool->threads);
    pool->work = work, pool->user = user, pool->participants = participants;
    if (participants > 1) {
        uint32_t count = (atomic_load_explicit(&pool->ticket.value, memory_order_relaxed) >> TICKET_BITS) + 1;
        change(&pool->ticket, count << TICKET_BITS | participants);
    }
    work(user, 0);
}

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
            status = hd_error(HD_LIMIT, "cannot start thread %u of %u: %s; ask for fewer threads", i + 1, pool->threads, strerror(error));
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
    change(&pool->ticket, atomic_load(&pool->ticket.value) + (1u << TICKET_BITS));
    for (uint32_t i = 1; i < pool->threads; i++) pthread_join(pool->workers[i - 1].thread, NULL);
    free(pool->workers);
    free(pool);
}
