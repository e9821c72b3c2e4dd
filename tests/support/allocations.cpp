// SPDX-License-Identifier: MIT
#include "allocations.hpp"

#include <atomic>
#include <cstdlib>
#include <new>

namespace {

std::atomic<std::uint64_t> count{0};
std::atomic<std::int64_t> live_bytes{0};
thread_local std::uint64_t until_failure = 0;

// Each block is preceded by its size and by the address that free wants.
struct header {
    std::size_t size;
    void* block;
};

void* allocate(std::size_t size, std::size_t alignment) {
    if (until_failure > 0 && --until_failure == 0) throw std::bad_alloc();
    void* const block = std::malloc(size + sizeof(header) + alignment);
    if (block == nullptr) throw std::bad_alloc();
    ++count;
    live_bytes += static_cast<std::int64_t>(size);
    auto address = reinterpret_cast<std::uintptr_t>(block) + sizeof(header);
    address = (address + alignment - 1) / alignment * alignment;
    auto* const memory = reinterpret_cast<header*>(address);
    memory[-1] = {size, block};
    return memory;
}

void release(void* memory) noexcept {
    if (memory == nullptr) return;
    auto const& before = static_cast<header*>(memory)[-1];
    live_bytes -= static_cast<std::int64_t>(before.size);
    std::free(before.block);
}

}  // namespace

namespace tests {

allocations allocated() noexcept {
    return {count, live_bytes};
}
void fail_allocation(std::uint64_t nth) noexcept {
    until_failure = nth;
}
bool allocation_is_to_fail() noexcept {
    return until_failure > 0;
}

}  // namespace tests

void* operator new(std::size_t size) {
    return allocate(size, alignof(std::max_align_t));
}
void* operator new[](std::size_t size) {
    return allocate(size, alignof(std::max_align_t));
}
void* operator new(std::size_t size, std::align_val_t alignment) {
    return allocate(size, static_cast<std::size_t>(alignment));
}
void* operator new[](std::size_t size, std::align_val_t alignment) {
    return allocate(size, static_cast<std::size_t>(alignment));
}
void operator delete(void* memory) noexcept {
    release(memory);
}
void operator delete[](void* memory) noexcept {
    release(memory);
}
void operator delete(void* memory, std::size_t) noexcept {
    release(memory);
}
void operator delete[](void* memory, std::size_t) noexcept {
    release(memory);
}
void operator delete(void* memory, std::align_val_t) noexcept {
    release(memory);
}
void operator delete[](void* memory, std::align_val_t) noexcept {
    release(memory);
}
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept {
    release(memory);
}
void operator delete[](void* memory, std::size_t, std::align_val_t) noexcept {
    release(memory);
}
