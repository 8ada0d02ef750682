// SPDX-License-Identifier: Apache-2.0
// The thread pool: phases follow each other, an idle pool burns nothing, and beside busy neighbours decoding stays usable.
#include "tests/unit/hand_fixture.h"

#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>

#include "runtime/device/device.h"

static double seconds(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static void sleep_seconds(double time) { nanosleep(&(struct timespec){(time_t)time,
                                                                      (long)((time - (double)(time_t)time) * 1e9)}, NULL); }

// ---- phases ----------------------------------------------------------------------------------------------------

enum { THREADS = 5, PHASES = 40, WIDEST = 11 };

typedef struct Rows { uint32_t chunks[PHASES], row[PHASES][WIDEST], times[PHASES][WIDEST], by[THREADS]; } Rows;

static uint32_t sum_of(const Rows *rows, uint32_t phase)
{
    uint32_t sum = 0;
    for (uint32_t i = 0; i < rows->chunks[phase]; i++) sum += rows->row[phase][i] ? rows->row[phase][i] : 1u << 31;
    return sum % 1000003;
}

// A chunk adds up what all chunks of the phase before have made: a phase that opens too early reads zeros.
static void add_row(void *user, uint32_t phase, uint32_t chunk, uint32_t thread)
{
    Rows *rows = user;
    rows->row[phase][chunk] = (phase ? sum_of(rows, phase - 1) : 0) + chunk + 1;
    rows->times[phase][chunk]++;
    rows->by[thread]++;
}

static void phases_follow_each_other(void **state)
{
    (void)state;
    for (uint32_t threads = 1; threads <= THREADS; threads++) {
        RtPool *pool;
        OK(rt_pool_new(threads, &pool));
        for (uint32_t run = 0; run < 60; run++) {
            Rows rows = {.chunks = {0}}, want = {.chunks = {0}};
            for (uint32_t p = 0; p < PHASES; p++) rows.chunks[p] = want.chunks[p] = run % 7 == 6 ? 1 : 1 + (run + p * 5) % WIDEST;
            rt_pool_run(pool, &(RtJob){rows.chunks, PHASES, add_row, &rows});
            for (uint32_t p = 0; p < PHASES; p++)
                for (uint32_t c = 0; c < rows.chunks[p]; c++) {
                    add_row(&want, p, c, 0);
                    assert_int_equal(rows.row[p][c], want.row[p][c]);
                    assert_int_equal(rows.times[p][c], 1);
                }
            if (run % 20 == 0) sleep_seconds(0.005);         // the others are asleep by then
        }
        rt_pool_free(pool);
    }
}

// A chunk that takes its time keeps only its own thread: the other does all the rest.
static void take_time(void *user, uint32_t phase, uint32_t chunk, uint32_t thread)
{
    Rows *rows = user;
    if (phase == 0 && chunk == 0) sleep_seconds(0.05);
    rows->by[thread] += phase == 0 && chunk == 0 ? 100 : 1;
}

static void nobody_waits_for_a_slow_thread(void **state)
{
    (void)state;
    RtPool *pool;
    Rows rows = {.chunks = {8}};
    OK(rt_pool_new(2, &pool));
    rt_pool_run(pool, &(RtJob){rows.chunks, 1, take_time, &rows});
    assert_int_equal(rows.by[0] + rows.by[1], 107);
    assert_int_equal(HD_MIN(rows.by[0], rows.by[1]), 7);
    rt_pool_free(pool);
}

static void more_threads_than_the_system_gives(void **state)
{
    (void)state;
    pthread_attr_t usual, huge;
    RtPool *pool;
    assert_int_equal(pthread_getattr_default_np(&usual), 0);
    pthread_attr_init(&huge);
    assert_int_equal(pthread_attr_setstacksize(&huge, (size_t)1 << 50), 0);   // no room for such a stack
    assert_int_equal(pthread_setattr_default_np(&huge), 0);
    HdStatus *status = rt_pool_new(64, &pool);
    assert_int_equal(pthread_setattr_default_np(&usual), 0);
    expect(status, HD_LIMIT, "cannot start thread 2 of 64: ");
    pthread_attr_destroy(&usual);
    pthread_attr_destroy(&huge);
}

// ---- sleeping --------------------------------------------------------------------------------------------------

static void an_idle_pool_burns_nothing(void **state)
{
    (void)state;
    Hand hand;
    hand_open(&hand, 1, NULL, NULL, NULL);
    HeddleSession *session = hand_session(&hand, (HeddleSessionOptions){.threads = 4});
    const int32_t token = 1;
    OK(heddle_eval(session, &(HeddlePiece){.tokens = &token, .count = 1, .logits = HEDDLE_LOGITS_LAST}, 1));
    sleep_seconds(0.02);
    double before = seconds(CLOCK_PROCESS_CPUTIME_ID);
    sleep_seconds(0.4);
    double burnt = seconds(CLOCK_PROCESS_CPUTIME_ID) - before;
    if (burnt > 0.004) fail_msg("%.1f ms of processor time in 400 ms of idling", burnt * 1e3);
    heddle_session_free(session);
    hand_close(&hand);
}

// ---- neighbours ------------------------------------------------------------------------------------------------

enum { STEP_PHASES = 100 };
typedef struct Work { RtPool *pool; uint32_t chunks[STEP_PHASES]; volatile double sink[8 * THREADS]; } Work;

// As a decoding step of a small model: a hundred stages of some twenty microseconds on two threads.
static void some_work(void *user, uint32_t phase, uint32_t chunk, uint32_t thread)
{
    Work *work = user;
    double value = phase + chunk;
    for (int i = 0; i < 3000; i++) value = value * 1.0000001 + 1e-9;
    work->sink[8 * thread] = value;
}

static double steps_per_second(Work *work, double time)
{
    double start = seconds(CLOCK_MONOTONIC), now = start;
    uint32_t steps = 0;
    for (; now - start < time; steps++, now = seconds(CLOCK_MONOTONIC)) rt_pool_run(work->pool,
        &(RtJob){work->chunks, STEP_PHASES, some_work, work});
    return steps / (now - start);
}

static pid_t busy_neighbour(void)
{
    pid_t child = fork();
    if (!child)
        for (volatile uint64_t i = 0;; i++) {}
    return child;
}

// A thread that a neighbour has pushed aside must not hold up the others, and who has to wait must give its core away rather
// than spin. The machine's other load disturbs the measurement, so the best of a few counts.
static void neighbours_leave_a_quarter(void **state)
{
    (void)state;
    Work work = {.pool = NULL};
    for (int p = 0; p < STEP_PHASES; p++) work.chunks[p] = 4;
    double best = 0;
    OK(rt_pool_new(2, &work.pool));
    for (int attempt = 0; attempt < 5 && best < 0.25; attempt++) {
        double alone = steps_per_second(&work, 0.3);
        pid_t neighbours[2] = {busy_neighbour(), busy_neighbour()};
        double beside = steps_per_second(&work, 0.6);
        for (int i = 0; i < 2; i++) {
            kill(neighbours[i], SIGKILL);
            waitpid(neighbours[i], NULL, 0);
        }
        best = HD_MAX(best, beside / alone);
        print_message("             alone %.0f steps/s, beside two neighbours %.0f: %.2f\n", alone, beside, beside / alone);
    }
    rt_pool_free(work.pool);
    assert_true(best >= 0.25);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(phases_follow_each_other),
        cmocka_unit_test(nobody_waits_for_a_slow_thread),
        cmocka_unit_test(more_threads_than_the_system_gives),
        cmocka_unit_test(an_idle_pool_burns_nothing),
        cmocka_unit_test(neighbours_leave_a_quarter),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
