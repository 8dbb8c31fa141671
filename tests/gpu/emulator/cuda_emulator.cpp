// Runs a kernel: every block of its grid, and in a block every thread, as fibers.
//
// A fiber is entered by ucontext, once, and from then on by _longjmp, which makes no system call as swapcontext does.
// It runs until it waits for the others of its block or warp, or ends. What is undefined on a GPU, or by C++, ends the
// launch with a message instead of the process.
//
// A warp runs on as soon as its last lane has arrived at an exchange, before threads of other warps have their turn.
// So one warp is far ahead of another where no barrier holds it, and a missing barrier shows.

#undef _FORTIFY_SOURCE  // its longjmp takes a change of stacks for an attack

#include <algorithm>
#include <csetjmp>
#include <csignal>
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <memory>
#include <numeric>
#include <random>
#include <sys/mman.h>
#include <ucontext.h>
#include <vector>

#include "cuda_emulator.h"
#include "undefined.h"

uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;

// The bounds of what is __shared__, as the linker calls them; absent where nothing is.
extern "C" char __start_emulated_shared[] __attribute__((weak, visibility("hidden")));
extern "C" char __stop_emulated_shared[] __attribute__((weak, visibility("hidden")));

// As tests/gpu/emulator/library.py has it.
struct Launch {
    const char* kernel;
    int64_t grid_x, grid_y, threads;
    int64_t order;              // of blocks and threads: 0 ascending, -1 descending, else the seed of a shuffle
    int64_t n_args;
    void** args;                // pointers to the arguments
    const int64_t* item_sizes; // of each argument: bytes of an array's items; 0 for an integer
    int64_t atomics;            // out: atomic operations outside of shared memory
    void* fault;                // out: the address that was not to be touched, if that ended the launch
    char error[512];            // out: what was wrong; empty if nothing
};

namespace {

constexpr size_t STACK = 128 * 1024, PAGE = 4096;
constexpr int WARP = 32;

enum class State { ready, at_barrier, in_exchange, ended };

struct Fiber {
    jmp_buf where;
    ucontext_t entry;
    bool entered = false;
    State state;
    const char *call, *file;  // the call in which it waits, and the place of the call
    int line;
    uint64_t brought[2];  // its values for the last two exchanges of its warp, by turns
    unsigned exchanges;   // in which it has taken part
};

std::vector<std::unique_ptr<Fiber>> fibers;
Fiber* current;                  // the one that runs; null while none does
const std::vector<int>* turns;   // the order of the threads
std::vector<int> pending;        // the threads to run, the next one last
std::vector<int> arrived;        // by warp: how many lanes wait in an exchange
jmp_buf scheduler;
emulator::Kernel* kernels;       // all that there are, a list
const emulator::Kernel* kernel;  // the one that is launched
Launch* launch;
thread_local bool runs_kernel = false;

const char* base_name(const char* path) {
    const char* slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

__attribute__((format(printf, 1, 2))) void report(const char* format, ...) {
    char what[sizeof launch->error / 2];
    va_list values;
    va_start(values, format);
    vsnprintf(what, sizeof what, format, values);
    va_end(values);
    snprintf(launch->error, sizeof launch->error, "kernel %s, block (%u, %u): %s", launch->kernel, blockIdx.x,
             blockIdx.y, what);
}

[[noreturn]] void leave_fibers() { _longjmp(scheduler, 1); }

[[noreturn]] void enter_next();

// Note where the current thread stands; `wait` lets the others run.
void arrive(State state, const char* call, const char* file, int line) {
    current->state = state;
    current->call = call;
    current->file = file;
    current->line = line;
}

void wait() {
    if (_setjmp(current->where) == 0) enter_next();
}

void run_fiber() {
    for (;;) {
        kernel->call(kernel->function, launch->args);
        current->state = State::ended;
        wait();
    }
}

// Let the next thread run until it waits; after the last, go back to `run_threads`.
void enter_next() {
    if (pending.empty()) leave_fibers();
    int thread = pending.back();
    pending.pop_back();
    current = fibers[thread].get();
    current->state = State::ready;
    threadIdx = {(unsigned)thread, 0, 0};
    if (current->entered) _longjmp(current->where, 1);
    current->entered = true;
    setcontext(&current->entry);
    __builtin_unreachable();
}

// Let every thread run until it ends, waits at a barrier, or waits for a lane that does not arrive.
void run_threads(const std::vector<int>& order) {
    turns = &order;
    pending.assign(order.rbegin(), order.rend());
    if (_setjmp(scheduler) == 0) enter_next();
    current = nullptr;
}

void provide_fibers(size_t threads) {
    while (fibers.size() < threads) {
        void* stack = mmap(nullptr, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        mprotect(stack, PAGE, PROT_NONE);
        fibers.push_back(std::make_unique<Fiber>());
        Fiber& fiber = *fibers.back();
        getcontext(&fiber.entry);
        fiber.entry.uc_stack.ss_sp = stack;
        fiber.entry.uc_stack.ss_size = STACK;
    }
    for (auto& fiber : fibers) {
        if (fiber->entered && fiber->state == State::ended) continue;  // it stands at its loop's end
        makecontext(&fiber->entry, run_fiber, 0);  // new, or left in the midst of a launch that failed
        fiber->entered = false;
    }
}

class Order {
  public:
    Order(int64_t order, size_t n) : numbers(n), shuffled_(order > 0), random_((uint64_t)order) {
        std::iota(numbers.begin(), numbers.end(), 0);
        if (order < 0) std::iota(numbers.rbegin(), numbers.rend(), 0);
        next();
    }

    void next() {  // not std::shuffle, whose result the standard leaves open
        for (size_t i = numbers.size(); shuffled_ && i > 1; i--) std::swap(numbers[i - 1], numbers[random_() % i]);
    }

    std::vector<int> numbers;

  private:
    bool shuffled_;
    std::mt19937_64 random_;
};

// Whether one of the threads begin .. end - 1 is not where thread `waiting` waits; an error if so.
bool diverge(const char* what, int waiting, int begin, int end) {
    Fiber& f = *fibers[waiting];
    for (int t = begin; t < end; t++) {
        Fiber& other = *fibers[t];
        if (other.state == State::ended) {
            report("divergent %s: thread %d waits in %s at %s:%d, thread %d has ended", what, waiting, f.call,
                   base_name(f.file), f.line, t);
        } else if (other.line != f.line || other.file != f.file || other.call != f.call) {
            report("divergent %s: thread %d waits in %s at %s:%d, thread %d in %s at %s:%d", what, waiting, f.call,
                   base_name(f.file), f.line, t, other.call, base_name(other.file), other.line);
        } else {
            continue;
        }
        return true;
    }
    return false;
}

// The first thread in a state; -1 if there is none.
int find_thread(State state, int threads) {
    for (int t = 0; t < threads; t++) {
        if (fibers[t]->state == state) return t;
    }
    return -1;
}

// Whether all threads have ended; an error unless all have, or all wait at the same barrier.
bool all_ended(int threads) {
    int lane = find_thread(State::in_exchange, threads), waiting = find_thread(State::at_barrier, threads);
    if (lane >= 0) {
        int first = lane / WARP * WARP, lanes = std::min(threads - first, WARP);
        if (lanes == WARP) return diverge("warp", lane, first, first + WARP);
        Fiber& f = *fibers[lane];
        report("divergent warp: thread %d waits in %s at %s:%d, its warp has %d of %d threads", lane, f.call,
               base_name(f.file), f.line, lanes, WARP);
        return true;
    }
    return waiting < 0 || diverge("barriers", waiting, 0, threads);
}

// Wait for the other lanes of the warp. Return the index in `brought` of the values of this exchange.
unsigned exchange(const char* call, unsigned mask, uint64_t value, const char* file, int line) {
    if (mask != 0xFFFFFFFF) {
        report("thread %u, %s:%d: the mask of %s is 0x%X, not 0xFFFFFFFF", threadIdx.x, base_name(file), line, call,
               mask);
        leave_fibers();
    }
    int warp = (int)threadIdx.x / WARP;
    current->brought[current->exchanges++ % 2] = value;  // other lanes may still read the last one
    arrive(State::in_exchange, call, file, line);
    if (++arrived[warp] == WARP) {
        if (diverge("warp", warp * WARP, warp * WARP, (warp + 1) * WARP)) leave_fibers();
        arrived[warp] = 0;
        for (auto thread = turns->rbegin(); thread != turns->rend(); ++thread) {
            if (*thread / WARP == warp) pending.push_back(*thread);
        }
    }
    wait();
    return (current->exchanges - 1) % 2;
}

void run_block(Order& order) {
    int threads = (int)order.numbers.size();
    char garbage = launch->order == 0 ? '\xCD' : '\x35';  // above and below most values, whichever way they compare
    memset(__start_emulated_shared, garbage, (size_t)(__stop_emulated_shared - __start_emulated_shared));
    arrived.assign((size_t)(threads / WARP + 1), 0);
    for (int t = 0; t < threads; t++) {
        fibers[t]->state = State::ready;
        fibers[t]->exchanges = 0;
    }
    do {
        order.next();
        run_threads(order.numbers);
    } while (!launch->error[0] && !all_ended(threads));
}

// A fence around an array was touched, or something was divided by zero.
void on_signal(int signal, siginfo_t* info, void*) {
    if (!runs_kernel || !current) {  // none of ours: let it happen again
        std::signal(signal, SIG_DFL);
        return;
    }
    launch->fault = signal == SIGFPE ? nullptr : info->si_addr;
    report("thread %u %s", threadIdx.x, signal == SIGFPE ? "divides by zero" : "touches memory that is not there");
    leave_fibers();
}

class CaughtSignals {
  public:
    CaughtSignals() {
        struct sigaction action = {};
        action.sa_sigaction = on_signal;
        action.sa_flags = SA_SIGINFO | SA_NODEFER;  // the handler is left by a jump
        for (int i = 0; i < 3; i++) sigaction(SIGNALS[i], &action, &before_[i]);
        runs_kernel = true;
    }
    ~CaughtSignals() {
        runs_kernel = false;
        for (int i = 0; i < 3; i++) sigaction(SIGNALS[i], &before_[i], nullptr);
    }

  private:
    static constexpr int SIGNALS[] = {SIGSEGV, SIGBUS, SIGFPE};
    struct sigaction before_[3];
};

bool find_kernel() {
    for (kernel = kernels; kernel && strcmp(kernel->name, launch->kernel) != 0;) kernel = kernel->next;
    if (!kernel) {
        report("there is no such kernel");
        return false;
    }
    if (kernel->parameters != launch->n_args) {
        report("it has %d parameters, and got %d arguments", kernel->parameters, (int)launch->n_args);
        return false;
    }
    for (int i = 0; i < kernel->parameters; i++) {
        int64_t pointee = (int64_t)kernel->pointees[i], item = launch->item_sizes[i];
        if (pointee == 0 ? item != 0 : item == 0 || pointee % item != 0) {
            report("argument %d has items of %d bytes, the parameter %d (0 is for an integer)", i, (int)item,
                   (int)pointee);
            return false;
        }
    }
    return true;
}

}  // namespace

static void found_undefined(const char* what, const SourceLocation* where) {
    report("thread %u, %s:%u: %s", threadIdx.x, base_name(where->file), where->line, what);
    leave_fibers();
}

void emulator::wait_for_block(const char* file, int line) {
    arrive(State::at_barrier, "__syncthreads", file, line);
    wait();
}

unsigned long long emulator::shuffle_bits(unsigned mask, unsigned long long value, int lane, const char* file,
                                          int line) {
    unsigned now = exchange("__shfl_sync", mask, value, file, line);
    return fibers[threadIdx.x / WARP * WARP + (unsigned)lane % WARP]->brought[now];
}

int emulator::vote_all(unsigned mask, int predicate, const char* file, int line) {
    unsigned now = exchange("__all_sync", mask, predicate != 0, file, line), first = threadIdx.x / WARP * WARP;
    bool all = true;
    for (unsigned lane = 0; lane < WARP; lane++) all = all && fibers[first + lane]->brought[now];
    return all;
}

void emulator::count_atomic(const void* at) {
    auto address = (uintptr_t)at;
    bool shared = address >= (uintptr_t)__start_emulated_shared && address < (uintptr_t)__stop_emulated_shared;
    launch->atomics += !shared;
}

void emulator::enlist(Kernel* kernel) {
    kernel->next = kernels;
    kernels = kernel;
}

extern "C" __attribute__((visibility("default"))) void emulate(Launch* what) {
    launch = what;
    blockIdx = {0, 0, 0};
    if (!find_kernel()) return;
    provide_fibers((size_t)what->threads);
    gridDim = {(unsigned)what->grid_x, (unsigned)what->grid_y, 1};
    blockDim = {(unsigned)what->threads, 1, 1};
    Order blocks(what->order, (size_t)(what->grid_x * what->grid_y)), threads(what->order, (size_t)what->threads);
    CaughtSignals caught;
    for (int block : blocks.numbers) {
        blockIdx = {(unsigned)(block % what->grid_x), (unsigned)(block / what->grid_x), 0};
        run_block(threads);
        if (what->error[0]) return;
    }
}
