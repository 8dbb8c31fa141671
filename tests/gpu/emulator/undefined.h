// What `g++ -fsanitize=undefined` calls when it finds undefined behaviour, without libubsan.
//
// That library either prints or ends the process; tests want an error that they can raise. So do not link it, and
// include this file once: each finding goes to `found_undefined`, which the includer defines and which may return.

#ifndef KSEG_UNDEFINED_H
#define KSEG_UNDEFINED_H

struct SourceLocation {  // with this begins whatever the compiler passes first
    const char* file;
    unsigned line, column;
};

static void found_undefined(const char* what, const SourceLocation* where);

#define HANDLER(name, what, ...)                                                               \
    extern "C" __attribute__((visibility("hidden"))) void __ubsan_handle_##name(__VA_ARGS__) { \
        found_undefined(what, (const SourceLocation*)data);                                    \
    }

HANDLER(add_overflow, "an addition overflows", void* data, void*, void*)
HANDLER(sub_overflow, "a subtraction overflows", void* data, void*, void*)
HANDLER(mul_overflow, "a multiplication overflows", void* data, void*, void*)
HANDLER(negate_overflow, "a negation overflows", void* data, void*)
HANDLER(divrem_overflow, "a division overflows or is by zero", void* data, void*, void*)
HANDLER(shift_out_of_bounds, "a shift is by too much, or of a negative value", void* data, void*, void*)
HANDLER(out_of_bounds, "an index is out of its array", void* data, void*)
HANDLER(type_mismatch_v1, "an access is misaligned, through null, or larger than the object", void* data, void*)
HANDLER(pointer_overflow, "a pointer leaves the address space", void* data, void*, void*)
HANDLER(load_invalid_value, "a value is none of its type", void* data, void*)
HANDLER(float_cast_overflow, "a number does not fit the type it is cast to", void* data, void*)
HANDLER(vla_bound_not_positive, "the length of an array is not positive", void* data, void*)
HANDLER(builtin_unreachable, "what cannot be reached is", void* data)
HANDLER(missing_return, "a function ends without its value", void* data)
HANDLER(invalid_builtin, "a builtin gets an argument it has no answer to", void* data)
HANDLER(nonnull_arg, "an argument that must not be null is", void* data)

#endif
