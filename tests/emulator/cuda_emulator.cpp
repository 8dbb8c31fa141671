// Runs a kernel: every block of its grid, and in a block every thread, as fibers.
//
// A fiber is entered by ucontext, once, and from then on by _longjmp, which makes no system call as swapcontext does.
// It runs until it waits for the others of its block or ends. What is undefined on a GPU, or by C++, ends the launch
// with a message instead of the process.

#undef _FORTIFY_SOURCE  // its longjmp takes a change of stacks for an attack

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

// As tests/emulator/library.py has it.
struct Launch {
    const char* kernel;
    int64_t grid_x, grid_y, threads;
    int64_t order;              // of blocks and threads: 0 ascending, -1 descending, else the seed of a shuffle
    int64_t n_args;
    void** args;                // pointers to the arguments
    const int64_t* item_sizes; // of each argument: bytes of an array's items; 0 for an integer
    void* fault;                // out: the address that was not to be touched, if that ended the launch
    char error[512];            // out: what was wrong; empty if nothing
};

namespace {

constexpr size_t STACK = 128 * 1024, PAGE = 4096;

struct Fiber {
    jmp_buf where;
    ucontext_t entry;
    bool entered = false, ended = false;
    const char* file;  // where it waits
    int line;
};

std::vector<std::unique_ptr<Fiber>> fibers;
Fiber* current;                  // the one that runs; null while none does
const std::vector<int>* turns;   // the order of the threads
size_t turn;                     // the place in it of the next one
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

void run_fiber() {
    for (;;) {
        kernel->call(kernel->function, launch->args);
        current->ended = true;
        if (_setjmp(current->where) == 0) enter_next();
    }
}

// Let the next thread run until it waits; behind the last, go back to `run_threads`.
void enter_next() {
    if (turn == turns->size()) leave_fibers();
    int thread = (*turns)[turn++];
    current = fibers[thread].get();
    threadIdx = {(unsigned)thread, 0, 0};
    if (current->entered) _longjmp(current->where, 1);
    current->entered = true;
    setcontext(&current->entry);
    __builtin_unreachable();
}

// Let every thread run until it waits or ends.
void run_threads(const std::vector<int>& order) {
    turns = &order;
    turn = 0;
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
        if (fiber->entered && fiber->ended) continue;  // it stands at its loop's end
        makecontext(&fiber->entry, run_fiber, 0);      // new, or left in the midst of a launch that failed
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

// Whether all threads have ended; an error unless all have, or all wait at the same place.
bool all_ended(int threads) {
    int ended = -1, waiting = -1;
    for (int t = 0; t < threads; t++) {
        Fiber& f = *fibers[t];
        if (f.ended) {
            ended = t;
        } else if (waiting < 0) {
            waiting = t;
        } else if (f.line != fibers[waiting]->line || f.file != fibers[waiting]->file) {
            Fiber& other = *fibers[waiting];
            report("divergent barriers: thread %d waits at %s:%d, thread %d at %s:%d", waiting, base_name(other.file),
                   other.line, t, base_name(f.file), f.line);
            return true;
        }
    }
    if (ended >= 0 && waiting >= 0) {
        Fiber& f = *fibers[waiting];
        report("divergent barriers: thread %d waits at %s:%d, thread %d has ended", waiting, base_name(f.file), f.line,
               ended);
    }
    return ended >= 0;
}

void run_block(Order& order) {
    int threads = (int)order.numbers.size();
    char garbage = launch->order == 0 ? '\xCD' : '\x35';  // above and below most values, whichever way they compare
    memset(__start_emulated_shared, garbage, (size_t)(__stop_emulated_shared - __start_emulated_shared));
    for (int t = 0; t < threads; t++) fibers[t]->ended = false;
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
    current->file = file;
    current->line = line;
    if (_setjmp(current->where) == 0) enter_next();
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
