// What the kernels use of CUDA, for g++: include it ahead of a .cu file, then name the file's kernels.
//
// The blocks of a grid run one after the other, so shared memory is static. The threads of a block are fibers of
// one thread of the CPU; cuda_emulator.cpp switches between them in __syncthreads and in the exchanges of a warp, and
// nowhere else. A warp is 32 threads in a row, and all of them take part in an exchange.

#ifndef KSEG_CUDA_EMULATOR_H
#define KSEG_CUDA_EMULATOR_H

#include <cstddef>
#include <type_traits>
#include <utility>

#define __CUDACC__ 1
#define __global__
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __shared__ static __attribute__((section("emulated_shared")))  // a section, so that it can be overwritten
#define __syncthreads() emulator::wait_for_block(__FILE__, __LINE__)
#define __shfl_sync(mask, value, lane) emulator::shuffle(mask, value, lane, __FILE__, __LINE__)
#define __all_sync(mask, predicate) emulator::vote_all(mask, predicate, __FILE__, __LINE__)

struct uint3 {
    unsigned x, y, z;
};
typedef uint3 dim3;

struct alignas(16) int4 {
    int x, y, z, w;
};

struct alignas(16) uint4 {
    unsigned x, y, z, w;
};

inline int4 make_int4(int x, int y, int z, int w) { return {x, y, z, w}; }
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }

extern uint3 threadIdx, blockIdx;
extern dim3 blockDim, gridDim;

inline int __ffs(int bits) { return __builtin_ffs(bits); }

// The overloads that CUDA has, so that a call that is ambiguous there does not compile here.
#define EMULATED_MIN_MAX(A, B, RESULT)                                                    \
    inline RESULT min(A a, B b) { return (RESULT)a < (RESULT)b ? (RESULT)a : (RESULT)b; } \
    inline RESULT max(A a, B b) { return (RESULT)a > (RESULT)b ? (RESULT)a : (RESULT)b; }
EMULATED_MIN_MAX(int, int, int)
EMULATED_MIN_MAX(unsigned, unsigned, unsigned)
EMULATED_MIN_MAX(int, unsigned, unsigned)
EMULATED_MIN_MAX(unsigned, int, unsigned)
EMULATED_MIN_MAX(long, long, long)
EMULATED_MIN_MAX(unsigned long, unsigned long, unsigned long)
EMULATED_MIN_MAX(long, unsigned long, unsigned long)
EMULATED_MIN_MAX(unsigned long, long, unsigned long)
EMULATED_MIN_MAX(long long, long long, long long)
EMULATED_MIN_MAX(unsigned long long, unsigned long long, unsigned long long)
EMULATED_MIN_MAX(long long, unsigned long long, unsigned long long)
EMULATED_MIN_MAX(unsigned long long, long long, unsigned long long)
EMULATED_MIN_MAX(float, float, float)
EMULATED_MIN_MAX(double, double, double)

namespace emulator {

void count_atomic(const void* at);

}  // namespace emulator

// Sums wrap, as those of the GPU do. Nothing is atomic about it: no other thread runs meanwhile.
#define EMULATED_ATOMICS(T, WRAPPING)                  \
    inline T atomicAdd(T* at, T value) {               \
        T before = *at;                                \
        emulator::count_atomic(at);                    \
        *at = (T)((WRAPPING)before + (WRAPPING)value); \
        return before;                                 \
    }                                                  \
    inline T atomicMax(T* at, T value) {               \
        T before = *at;                                \
        emulator::count_atomic(at);                    \
        if (value > before) *at = value;               \
        return before;                                 \
    }                                                  \
    inline T atomicMin(T* at, T value) {               \
        T before = *at;                                \
        emulator::count_atomic(at);                    \
        if (value < before) *at = value;               \
        return before;                                 \
    }
EMULATED_ATOMICS(int, unsigned)
EMULATED_ATOMICS(unsigned, unsigned)
EMULATED_ATOMICS(unsigned long long, unsigned long long)

inline unsigned atomicOr(unsigned* at, unsigned value) {
    unsigned before = *at;
    emulator::count_atomic(at);
    *at = before | value;
    return before;
}

namespace emulator {

void wait_for_block(const char* file, int line);

unsigned long long shuffle_bits(unsigned mask, unsigned long long value, int lane, const char* file, int line);

int vote_all(unsigned mask, int predicate, const char* file, int line);

// Of the overloads that CUDA has, those that the kernels use.
#define EMULATED_SHUFFLE(T)                                                          \
    inline T shuffle(unsigned mask, T value, int lane, const char* file, int line) { \
        return (T)shuffle_bits(mask, (unsigned long long)value, lane, file, line);   \
    }
EMULATED_SHUFFLE(int)
EMULATED_SHUFFLE(unsigned)
EMULATED_SHUFFLE(unsigned long long)

struct Kernel {
    const char* name;
    void (*function)();
    void (*call)(void (*function)(), void** args);
    int parameters;
    const size_t* pointees;  // of each parameter: the size of what it points to; 0 for an integer
    Kernel* next;
};

void enlist(Kernel* kernel);

template <class T>
constexpr size_t size_of_pointee() {
    if constexpr (std::is_pointer_v<T>) return sizeof(std::remove_pointer_t<T>);
    else return 0;
}

// A kernel that can be launched by its name; the arguments come as pointers to them, as cudaLaunchKernel has it.
template <class... P>
class Enlisted {
  public:
    Enlisted(const char* name, void (*function)(P...)) {
        kernel_ = {name, (void (*)())function, &call, (int)sizeof...(P), pointees_, nullptr};
        enlist(&kernel_);
    }

  private:
    static_assert(((std::is_pointer_v<P> || (std::is_integral_v<P> && sizeof(P) == 8)) && ...),
                  "parameters must be pointers, or integers of 64 bits");

    static void call(void (*function)(), void** args) {
        call_with((void (*)(P...))function, args, std::index_sequence_for<P...>());
    }

    template <size_t... I>
    static void call_with(void (*function)(P...), void** args, std::index_sequence<I...>) {
        function(*(P*)args[I]...);
    }

    static constexpr size_t pointees_[] = {size_of_pointee<P>()..., 0};
    Kernel kernel_;
};

}  // namespace emulator

#define EMULATED_KERNEL(name) static emulator::Enlisted enlisted_##name(#name, name);

#endif
