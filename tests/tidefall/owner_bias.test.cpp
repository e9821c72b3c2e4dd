// SPDX-License-Identifier: MIT
//
// Stripes that lean to the one thread that writes there: when they do, what ends it, and that nothing else differs.
// Where no lock leans, since the system or the build has no barrier of the process, all but the leaning holds too.
#include "../support/catch.hpp"
#include "../support/common.hpp"
#include "../support/engines.hpp"
#include "../support/latch.hpp"
#include "../support/stress.hpp"

#include <tidefall/detail/write/stripe.hpp>
#include <tidefall/manual_runtime.hpp>
#include <tidefall/queue.hpp>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <numeric>
#include <optional>
#include <random>
#include <span>
#include <stdexcept>
#include <thread>
#include <type_traits>
#include <vector>

#if defined(__linux__)
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cerrno>
#endif

using namespace std::chrono_literals;
using tests::latch;
using tidefall::write_status;
using tidefall::detail::biased_lock;
using tidefall::detail::lean_history;
using tidefall::detail::lean_number;
using tidefall::detail::lean_numbers;
using tidefall::detail::process_barrier;
using tidefall::detail::stripe_tickets;

namespace {

using table = tidefall::queue_table<int>;
constexpr auto lean_after = lean_history::lean_after;
constexpr auto worth = tidefall::detail::writes_worth_a_barrier;

/// A thread that does one thing after the other, as it is told.
class helper {
public:
    template <typename F>
    void does(F what) {
        std::thread([&] { what(); }).join();
    }
};

/// A number, whose copy throws where that is asked for.
struct fragile {
    int number = 0;
    bool throws = false;
    fragile(int its, bool may_throw) : number(its), throws(may_throw) {}
    fragile(fragile const& other) : number(other.number), throws(other.throws) {
        if (throws) throw std::runtime_error("no copy");
    }
    fragile(fragile&& other) : fragile(std::as_const(other)) {}  // NOLINT
    fragile& operator=(fragile const&) = default;
};

/// A queue without threads that has had one filling of so many values, so that its stripes may lean.
template <typename T>
class led_queue {
public:
    explicit led_queue(tidefall::options how) {
        process_barrier::prepare();
        how.runtime = clock;
        how.partitions = 1;
        how.processing_interval = 1h;
        items.emplace(std::move(how), [this](std::span<T const> batch) {
            processed += batch.size();
            if constexpr (std::is_same_v<T, int>) out.insert(out.end(), batch.begin(), batch.end());
        });
    }

    /// Pushes `first`, `first + 1`, and so on; returns how many were accepted.
    int push(int first, int count) {
        int accepted = 0;
        for (int i = 0; i < count; ++i) accepted += items->push(first + i) == write_status::accepted ? 1 : 0;
        return accepted;
    }

    std::shared_ptr<tidefall::manual_runtime> clock = tidefall::make_manual_runtime();
    std::size_t processed = 0;
    std::vector<int> out;  ///< of numbers
    std::optional<tidefall::queue<T>> items;
};

std::vector<int> numbers_to(int count) {
    std::vector<int> all(static_cast<std::size_t>(count));
    std::iota(all.begin(), all.end(), 0);
    return all;
}

}  // namespace

TEST_CASE("owner bias: a filling leans to who wrote its first values alone") {
    lean_history history;
    int a = 0;
    int b = 0;
    for (std::size_t before = 0; before < lean_after; ++before) REQUIRE_FALSE(history.should_lean(&a, before));
    CHECK(history.should_lean(&a, lean_after));
    history.filling_ended();

    SECTION("not where another thread wrote one of them") {
        for (std::size_t before = 0; before <= lean_after; ++before) {
            REQUIRE_FALSE(history.should_lean(before == 7 ? &b : &a, before));
        }
    }
    SECTION("not where a key brought one of them") {
        for (std::size_t before = 0; before <= lean_after; ++before) {
            REQUIRE_FALSE(history.should_lean(before == 7 ? nullptr : &a, before));
        }
    }
    SECTION("not where the first were written before anybody looked") {
        for (std::size_t before = 1; before <= lean_after; ++before) REQUIRE_FALSE(history.should_lean(&a, before));
    }
    SECTION("once a filling") {
        CHECK_FALSE(history.should_lean(&a, 0));
        CHECK(history.should_lean(&a, lean_after));
        history.began(lean_after + 1);
        CHECK_FALSE(history.should_lean(&a, lean_after + 1));
    }
}

TEST_CASE("owner bias: where a write is not of note, a look at it would change nothing") {
    lean_history asked;
    lean_history always;
    std::mt19937 dice(7);
    std::array<int, 3> threads{};
    for (int filling = 0; filling < 200; ++filling) {
        int* const most = &threads[dice() % 3];
        for (std::size_t before = 0; before <= lean_history::look_until; ++before) {
            int* const who = dice() % 2'000 != 0 ? most : dice() % 2 == 0 ? nullptr : &threads[dice() % 3];
            bool const leans = always.should_lean(who, before);
            REQUIRE((asked.is_of_note(who, before) && asked.should_lean(who, before)) == leans);
            if (leans && dice() % 2 == 0) {
                auto const values = dice() % 2 == 0 ? worth : 0;
                for (auto* one : {&asked, &always}) {
                    one->began(before + 1);
                    one->ended(before + 1 + values);
                }
            }
        }
        asked.filling_ended();
        always.filling_ended();
    }
}

TEST_CASE("owner bias: after a lean that did not pay, fillings pass without one") {
    lean_history history;
    int a = 0;
    auto const fillings_without = [&] {
        int count = 0;
        for (;; ++count) {
            static_cast<void>(history.should_lean(&a, 0));
            if (history.should_lean(&a, lean_after)) return count;
            history.filling_ended();
        }
    };
    auto const lean_of = [&](std::size_t values) {
        history.began(lean_after);
        history.ended(lean_after + values);
        history.filling_ended();
    };
    CHECK(fillings_without() == 0);
    lean_of(worth - 1);
    CHECK(fillings_without() == 3);
    lean_of(worth - 1);
    CHECK(fillings_without() == 15);
    lean_of(worth);
    CHECK(fillings_without() == 0);
    lean_of(worth - 1);
    CHECK(fillings_without() == 3);
    for (int i = 0; i < 8; ++i) {
        lean_of(0);
        static_cast<void>(fillings_without());
    }
    lean_of(0);
    CHECK(fillings_without() == 4'095);
}

TEST_CASE("owner bias: a lock knows its threads for as long as they live") {
    lean_numbers numbers;
    auto const mine = numbers.of_this_thread();
    CHECK(mine == 1);
    CHECK(numbers.of_this_thread() == mine);
#if defined(__linux__)
    latch over;
    std::atomic<unsigned> given{0};
    std::vector<std::thread> others;
    for (unsigned i = 1; i <= biased_lock::numbers; ++i) {
        std::atomic<bool> asked{false};
        others.emplace_back([&] {
            given += numbers.of_this_thread() << 8 * i;
            asked = true;
            asked.notify_one();
            over.wait();
        });
        asked.wait(false);
    }
    CHECK(given == (2U << 8 | 3U << 16));  // and none for the last one
    over.open();
    for (auto& one : others) one.join();
    // The system forgets a thread a moment after it is joined.
    CHECK(tests::in_a_minute([&] {
        lean_number number = 0;
        helper().does([&] { number = numbers.of_this_thread(); });
        return number == 2 || number == 3;
    }));
#endif
}

TEST_CASE("owner bias: the owner enters until somebody else has come or asked") {
    process_barrier::prepare();
    biased_lock lock;
    stripe_tickets tickets;
    CHECK_FALSE(lock.enter_by_lean(1));
    CHECK_FALSE(lock.lock(tickets, 1));
    lock.lean_to(1);
    lock.unlock();
    CHECK(lock.enter_by_lean(1));
    lock.leave(1);
    CHECK_FALSE(lock.enter_by_lean(2));

    SECTION("the owner's own way by the word changes nothing") {
        CHECK_FALSE(lock.lock(tickets, 1));
        lock.unlock();
        CHECK(lock.enter_by_lean(1));
        lock.leave(1);
    }
    SECTION("another thread ends it") {
        CHECK(lock.lock(tickets, 2));
        CHECK_FALSE(lock.leans());
        lock.unlock();
        CHECK_FALSE(lock.enter_by_lean(1));
    }
    SECTION("who takes it in passing leaves it to the owner") {
        CHECK_FALSE(lock.try_lock());
        CHECK(lock.enter_by_lean(1));
        lock.leave(1);
        CHECK(lock.lock(tickets, 2));
        CHECK_FALSE(lock.try_lock());
        lock.unlock();
        CHECK(lock.try_lock());
        CHECK_FALSE(lock.try_lock());
        lock.unlock();
    }
    SECTION("who asks is let in, and the owner takes the word meanwhile") {
        CHECK(lock.ask());
        CHECK(lock.ask());
        CHECK_FALSE(lock.enter_by_lean(1));
        CHECK_FALSE(lock.lock(tickets, 1));
        CHECK(lock.leans());
        CHECK_FALSE(lock.leans_to(1));
        lock.unlock();
        CHECK(lock.lock_asked(tickets));
        CHECK_FALSE(lock.leans());
        lock.unlock();
        CHECK_FALSE(lock.ask());
        CHECK_FALSE(lock.lock_asked(tickets));
        lock.unlock();
    }
    SECTION("who comes waits until the owner is not inside") {
        REQUIRE(lock.enter_by_lean(1));
        std::atomic<bool> is_in{false};
        std::thread other([&] {
            lock.lock(tickets);
            is_in = true;
            lock.unlock();
        });
        CHECK(tests::in_a_minute([&] { return !lock.leans(); }));
        CHECK_FALSE(is_in);
        lock.leave(1);
        other.join();
        CHECK(is_in);
    }
}

TEST_CASE("owner bias: a stripe leans where the system has a barrier, and no limit is near") {
    process_barrier::prepare();
    tidefall::detail::total_limit total(1);
    tidefall::detail::stripe_limits limits;
    limits.total = &total;
    tidefall::detail::stripe<table> one;
    one.limits = &limits;
    tidefall::detail::thread_places::place mine;
    auto const write_alone = [&](std::size_t count) {
        for (std::size_t before = 0; before < count; ++before) {
            one.table.emplace_back(1);
            one.look_at_writer(&mine, before);
        }
    };
    SECTION("no limit") {
        write_alone(lean_after);
        CHECK_FALSE(one.lock.leans());
        one.table.emplace_back(1);
        one.look_at_writer(&mine, lean_after);
        CHECK(one.lock.leans() == process_barrier::is_ready());
        CHECK((mine.owned == &one) == process_barrier::is_ready());
    }
    SECTION("a limit beyond what pays") {
        limits.capacity = lean_after + worth + 2;
        one.look_at_limits();
        write_alone(lean_after + 1);
        CHECK(one.lock.leans() == process_barrier::is_ready());
    }
    SECTION("a nearer one") {
        limits.capacity = lean_after + worth + 1;
        one.look_at_limits();
        write_alone(lean_after + 1);
        CHECK_FALSE(one.lock.leans());
    }
}

TEST_CASE("owner bias: a table's stretch ends where its segment or its limit does") {
    table values;
    CHECK_FALSE(values.has_stretch());
    values.begin_stretch(5);
    CHECK_FALSE(values.has_stretch());  // there is no segment
    values.emplace_back(0);
    CHECK_FALSE(values.has_stretch());
    values.begin_stretch(2);
    CHECK(values.has_stretch());
    values.emplace_in_stretch(1);
    values.emplace_in_stretch(2);
    CHECK_FALSE(values.has_stretch());
    values.emplace_back(3);
    CHECK_FALSE(values.has_stretch());
    values.begin_stretch(1'000'000);
    int next = 4;
    for (; values.has_stretch(); ++next) values.emplace_in_stretch(next);
    CHECK(next == 256);  // the first segment has 1 KiB
    values.emplace_back(next++);
    CHECK_FALSE(values.has_stretch());
    values.begin_stretch(10);
    values.emplace_in_stretch(next++);

    SECTION("a swap takes it along") {
        table other;
        values.swap(other);
        CHECK_FALSE(values.has_stretch());
        CHECK(other.has_stretch());
    }
    SECTION("an emptied table has none") {
        values.clear();
        CHECK_FALSE(values.has_stretch());
    }
    SECTION("one that took over another has none, and neither has that") {
        table other;
        other.emplace_back(next);
        other.begin_stretch(10);
        values.absorb(std::move(other));
        CHECK_FALSE(values.has_stretch());
        CHECK_FALSE(other.has_stretch());
        ++next;
    }
    if (values.size() > 2) {
        int expected = 0;
        for (int const one : values) CHECK(one == expected++);
        CHECK(expected == next);
    }
}

TEST_CASE("owner bias: values come out once and in order, however the owner came in") {
    constexpr int count = 50'000;
    led_queue<int> led({});
    for (int filling = 0; filling < 3; ++filling) {
        CHECK(led.push(0, count) == count);
        CHECK(led.items->size() == count);
        CHECK(led.push(count, 10) == 10);
        led.items->flush();
        CHECK(led.out == numbers_to(count + 10));
        led.out.clear();
    }
    CHECK(led.items->stats().accepted == 3 * (count + 10));
    CHECK(led.items->stop().complete);
    CHECK(led.push(0, 1) == 0);
}

TEST_CASE("owner bias: who pushes alone comes to own the stripe at once, and nobody where two push") {
    using tidefall::detail::thread_places;
    bool const alone = GENERATE(true, false);
    latch knows_the_queue;
    latch has_begun;
    latch may_go_on;
    std::size_t owned = 0;
    led_queue<int> led({});
    std::thread one([&] {
        led.push(0, 1);
        knows_the_queue.open();
        has_begun.wait();
        led.push(0, 1);
        may_go_on.open();
    });
    helper().does([&] {
        knows_the_queue.wait();
        led.items->flush();
        led.push(0, alone ? 0 : 500);
        has_begun.open();
        may_go_on.wait();
        if (alone) led.items->flush();
        led.push(0, static_cast<int>(lean_after) + 1);
        auto& places = tidefall::detail::state_of_this_thread().places;
        for (std::uint64_t i = 0; i < thread_places::count; ++i) {
            if (places.first_look(i << thread_places::key_shift).owned != nullptr) ++owned;
        }
    });
    one.join();
    CHECK(owned == (alone && process_barrier::is_ready() ? 1 : 0));
}

TEST_CASE("owner bias: limits are met to the value") {
    constexpr int limit = 20'000;
    SECTION("a capacity refuses") {
        led_queue<int> led({.capacity = limit, .overflow = tidefall::overflow_policy::reject});
        CHECK(led.push(0, limit + 100) == limit);
        CHECK(led.items->stats().refused == 100);
        led.items->flush();
        CHECK(led.out == numbers_to(limit));
    }
    SECTION("the oldest go") {
        led_queue<int> led({.capacity = limit, .overflow = tidefall::overflow_policy::drop_oldest});
        CHECK(led.push(0, limit + 100) == limit + 100);
        CHECK(led.items->size() == limit);
        CHECK(led.items->stats().dropped == 100);
    }
    SECTION("a threshold starts a drain") {
        led_queue<int> led({.drain_threshold = limit});
        CHECK(led.push(0, limit - 1) == limit - 1);
        led.clock->advance(0ns);
        CHECK(led.out.empty());
        led.push(limit - 1, 1);
        led.clock->advance(0ns);
        CHECK(led.out == numbers_to(limit));
    }
    SECTION("one that comes while the lock leans holds at once") {
        led_queue<int> led({.overflow = tidefall::overflow_policy::reject});
        CHECK(led.push(0, limit) == limit);
        led.items->update_options({.capacity = std::optional<std::size_t>(limit + 3)});
        CHECK(led.push(limit, 10) == 3);
    }
    SECTION("bulk writes count") {
        led_queue<int> led({.capacity = limit, .overflow = tidefall::overflow_policy::reject});
        CHECK(led.push(0, 5'000) == 5'000);
        auto const rest = numbers_to(limit);
        CHECK(led.items->push_range(rest) == limit - 5'000);
        CHECK(led.push(0, 1) == 0);
    }
}

TEST_CASE("owner bias: an exception leaves the section") {
    led_queue<fragile> led({});
    fragile const sound(1, false);
    fragile const broken(2, true);
    int thrown = 0;
    for (int i = 0; i < 10'000; ++i) {
        CHECK(led.items->push(sound) == write_status::accepted);
        if (i % 1'000 != 999) continue;
        try {
            led.items->push(broken);
        } catch (std::runtime_error const&) {
            ++thrown;
        }
    }
    CHECK(thrown == 10);
    helper().does([&] { CHECK(led.items->size() == 10'000); });
    CHECK(led.items->push(sound) == write_status::accepted);
    led.items->flush();
    CHECK(led.processed == 10'001);
}

TEST_CASE("owner bias: a thread that follows another one at its place is not taken for it") {
    constexpr int threads = 40;
    constexpr int each = 6'000;
    led_queue<int> led({});
    for (int i = 0; i < threads; ++i) {
        helper().does([&] { CHECK(led.push(0, each) == each); });
        led.items->flush();
        CHECK(led.out == numbers_to(each));
        led.out.clear();
    }
    CHECK(led.items->stats().processed == threads * each);
}

namespace {

/// A value whose move writes to another queue.
struct nested {
    explicit nested(tidefall::queue<int>* to) : writes_to(to) {}
    nested(nested&& other) noexcept : writes_to(other.writes_to) {
        if (writes_to != nullptr) writes_to->push(-1);
    }
    tidefall::queue<int>* writes_to;
};

}  // namespace

TEST_CASE("owner bias: a thread that has no place of its own in a queue is no owner there, whatever it writes within") {
    // A thread is an owner in 16 buffers at most.
    helper().does([] {
        process_barrier::prepare();
        auto const clock = tidefall::make_manual_runtime();
        tidefall::options const how{.partitions = 1, .processing_interval = 1h, .runtime = clock};
        std::vector<std::unique_ptr<tidefall::queue<int>>> others;
        for (int i = 0; i < 16; ++i) {
            others.push_back(std::make_unique<tidefall::queue<int>>(how, [](std::span<int const>) {}));
            others.back()->push(1);
        }
        long ours = 0;
        long theirs = 0;
        tidefall::queue<nested> outer(how, [](std::span<nested const>) {});
        tidefall::queue<int> inner(how, [&](std::span<int const> batch) {
            for (int const one : batch) ++(one < 0 ? ours : theirs);
        });
        constexpr auto count = static_cast<int>(lean_after) + 1;
        // Too many for the inner one to lean to this thread, so that its first owner is the other one.
        for (int i = 0; i < 3'000; ++i) inner.push(-1, tidefall::partition_key{1});
        for (int i = 0; i < count; ++i) outer.push(nested(&inner));
        outer.flush();
        inner.flush();
        ours = 0;
        constexpr int each = 1'000'000;
        long written = 0;
        std::atomic<bool> is_owner{false};
        std::atomic<bool> is_over{false};
        std::thread other([&] {
            for (; !is_over; ++written) {
                inner.push(1);
                is_owner = written > count;
            }
        });
        while (!is_owner) std::this_thread::yield();
        for (int i = 0; i < each; ++i) inner.push(-1);
        is_over = true;
        other.join();
        inner.flush();
        CHECK(theirs == written);
        CHECK(ours == each);
    });
}

TEST_CASE("owner bias: a queue at the address of another one is not taken for it") {
    // A thread is an owner in 16 buffers at most.
    helper().does([] {
        auto const clock = tidefall::make_manual_runtime();
        std::optional<tidefall::queue<int>> items;
        for (int i = 0; i < 50; ++i) {
            int out = 0;
            items.emplace(tidefall::options{.partitions = 1, .runtime = clock},
                          [&](std::span<int const> batch) { out += static_cast<int>(batch.size()); });
            for (int n = 0; n < 6'000; ++n) REQUIRE(items->push(n) == write_status::accepted);
            items.reset();
            CHECK(out == 6'000);
        }
    });
}

#if defined(__linux__)

namespace {

/// Runs `f` in a forked child; true if it returned true there.
template <typename F>
bool holds_in_a_child(F f) {
    auto const child = fork();
    if (child == 0) {
        alarm(60);
        _exit(f() ? 0 : 1);
    }
    int status = 0;
    waitpid(child, &status, 0);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/// From now on the system refuses this process the barrier. False if it does not take the filter.
bool refuse_barriers() {
    std::array<sock_filter, 4> program{{
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0),  // the call's number
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_membarrier, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    }};
    sock_fprog const filter{static_cast<unsigned short>(program.size()), program.data()};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0 &&
           syscall(SYS_membarrier, 0, 0, 0) == -1;
}

}  // namespace

TEST_CASE("owner bias: the child of an owner writes nothing, and the owner goes on") {
    // A thread is an owner in 16 buffers at most.
    helper().does([] {
        led_queue<int> led({});
        CHECK(led.push(0, 10'000) == 10'000);
        CHECK(holds_in_a_child([&] { return led.push(0, 100) == 0 && led.items->push_range(numbers_to(10)) == 0; }));
        CHECK(led.push(10'000, 10'000) == 10'000);
        led.items->flush();
        CHECK(led.out == numbers_to(20'000));
    });
}

TEST_CASE("owner bias: where the system comes to refuse the barrier, nothing is lost and no lock leans again") {
    // ThreadSanitizer wants threads in a child only where its parent had one at the fork.
    CHECK(holds_in_a_child([] {
        bool right = true;
        // A thread is an owner in 16 buffers at most.
        helper().does([&] {
            led_queue<int> led({});
            led.push(0, 10'000);
            if (!refuse_barriers()) return;  // a system without filters
            helper().does([&] { right = led.items->push(10'000) == write_status::accepted; });
            right = right && !process_barrier::is_ready();
            led.push(10'001, 10'000);
            led.items->flush();
            right = right && led.out == numbers_to(20'001);
        });
        return right;
    }));
    CHECK(holds_in_a_child([] {  // from the beginning
        bool right = true;
        helper().does([&] {
            if (!refuse_barriers()) return;
            led_queue<int> led({});
            led.push(0, 10'000);
            led.items->flush();
            right = led.out == numbers_to(10'000);
        });
        return right;
    }));
}

#endif
