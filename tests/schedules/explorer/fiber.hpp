// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include <cxxabi.h>
#include <ucontext.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define TIDEFALL_TESTS_ADDRESS_SANITIZER
#endif
#elif defined(__SANITIZE_ADDRESS__)
#define TIDEFALL_TESTS_ADDRESS_SANITIZER
#endif
#if defined(__SANITIZE_ADDRESS__) && !defined(TIDEFALL_TESTS_ADDRESS_SANITIZER)
#define TIDEFALL_TESTS_ADDRESS_SANITIZER
#endif
#if defined(TIDEFALL_TESTS_ADDRESS_SANITIZER)
#include <sanitizer/common_interface_defs.h>
#endif

namespace explore {

/// A stack, and where on it to go on. The exceptions that are in flight or being handled belong to it, and
/// AddressSanitizer is told which stack is in use.
class fiber {
public:
    /// The real thread's own.
    fiber() = default;

    /// One that begins with `body`, which must not return: it switches to another for the last time.
    fiber(std::unique_ptr<char[]> stack, void (*body)()) : stack_(std::move(stack)) {
        getcontext(&context_);
        context_.uc_stack.ss_sp = stack_.get();
        context_.uc_stack.ss_size = stack_size;
        context_.uc_link = nullptr;
        makecontext(&context_, body, 0);
        bottom_ = stack_.get();
        size_ = stack_size;
    }
    fiber(fiber const&) = delete;
    fiber& operator=(fiber const&) = delete;

    static constexpr std::size_t stack_size = std::size_t{256} << 10;

    /// Leaves this one, which is running, for another. Returns when somebody switches back.
    void switch_to(fiber& other, [[maybe_unused]] bool for_ever = false) noexcept {
        auto& globals = *reinterpret_cast<exceptions*>(abi::__cxa_get_globals());
        exceptions_ = std::exchange(globals, other.exceptions_);
#if defined(TIDEFALL_TESTS_ADDRESS_SANITIZER)
        other.left_ = this;
        __sanitizer_start_switch_fiber(for_ever ? nullptr : &fake_stack_, other.bottom_, other.size_);
#endif
        swapcontext(&context_, &other.context_);
        arrived();
    }

    /// The first that a body does, and what a switch ends with.
    void arrived() noexcept {
#if defined(TIDEFALL_TESTS_ADDRESS_SANITIZER)
        void const* bottom = nullptr;
        std::size_t size = 0;
        __sanitizer_finish_switch_fiber(fake_stack_, &bottom, &size);
        if (left_->bottom_ == nullptr) {  // the real thread's, which nobody knew
            left_->bottom_ = bottom;
            left_->size_ = size;
        }
#endif
    }

    /// For another one, once nobody will switch here any more.
    [[nodiscard]] std::unique_ptr<char[]> take_stack() noexcept {
        return std::move(stack_);
    }

private:
    /// As the ABI of C++ has it.
    struct exceptions {
        void* caught;
        unsigned uncaught;
    };

    ucontext_t context_{};
    std::unique_ptr<char[]> stack_;
    exceptions exceptions_{};
    void const* bottom_ = nullptr;
    std::size_t size_ = 0;
#if defined(TIDEFALL_TESTS_ADDRESS_SANITIZER)
    void* fake_stack_ = nullptr;
    fiber* left_ = nullptr;
#endif
};

}  // namespace explore
