// SPDX-License-Identifier: MIT
#include "explorer.hpp"

#include "../../support/catch.hpp"
#include "fiber.hpp"
#include "strategy.hpp"

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <iterator>
#include <memory>
#include <optional>
#include <random>
#include <sstream>
#include <system_error>
#include <utility>
#include <vector>

#include <unistd.h>

namespace explore {
namespace {

using namespace std::chrono_literals;

/// A schedule that has more operations goes round in a circle.
constexpr std::uint64_t most_steps = 1'000'000;

/// Nobody waits so long for anything but to look again.
constexpr std::chrono::nanoseconds patience = 30min;

/// The virtual time after which a schedule that loses notifications does not end.
constexpr std::chrono::nanoseconds most_time = 24h;

/// What is drawn for one schedule.
struct circumstances {
    std::uint64_t seed = 0;
    std::chrono::nanoseconds step{0};  ///< what an operation takes
    bool jumps = false;
    bool loses = false;
    bool spurious = false;
    bool late = false;  ///< stores are seen late
};

struct running_thread {
    enum class state : std::uint8_t { ready, waits, done };

    explicit running_thread(std::function<void()> what) : body(std::move(what)) {}

    std::function<void()> body;
    std::optional<fiber> its;
    state does = state::ready;
    void const* waits_for = nullptr;
    clock_time until = clock_time::max();
    int mutexes = 0;
    void* late_store = nullptr;  ///< where, if there is one
    void (*arrive)(void*) noexcept = nullptr;
    std::vector<std::pair<void const*, std::shared_ptr<void>>> owns;
    std::function<void()> on_sleep;
};

std::vector<std::unique_ptr<char[]>>& spare_stacks() {
    static auto& all = *new std::vector<std::unique_ptr<char[]>>;
    return all;
}

class world;
world* running = nullptr;

/// One schedule.
class world {
public:
    world(strategy& by, circumstances const& how)
        : strategy_(by), how_(how), scenario_(how.seed + 1), faults_(~how.seed) {}

    /// What went wrong, if anything.
    std::string run(std::function<void()> const& scenario) {
        running = this;
        start(scenario);
        current_ = 1;
        real_.switch_to(*threads_[0]->its);
        running = nullptr;
        for (auto& one : threads_) {
            auto stack = one->its->take_stack();
            if (failure_.empty()) {
                spare_stacks().push_back(std::move(stack));
            } else {  // what is on it refers to what will never be
                abandoned().push_back(std::move(stack));
                abandoned_threads().push_back(std::move(one));
            }
        }
        return failure_;
    }

    std::size_t start(std::function<void()> body) {
        auto stack = std::unique_ptr<char[]>();
        if (spare_stacks().empty()) {
            stack.reset(new char[fiber::stack_size]);
        } else {
            stack = std::move(spare_stacks().back());
            spare_stacks().pop_back();
        }
        threads_.push_back(std::make_unique<running_thread>(std::move(body)));
        threads_.back()->its.emplace(std::move(stack), &begin);
        return threads_.size();
    }

    void point(bool yields = false) {
        if (++steps_ > most_steps) fail("does not end: " + who_waits());
        now_ += yields ? how_.step + 100ns : how_.step;
        if (yields || (here().late_store != nullptr && faults_.one_in(16))) settle(here());
        if (how_.jumps && faults_.one_in(300)) jump();
        go_on(yields);
    }

    void wait(void const* what, clock_time until) {
        auto& me = here();
        settle(me);
        me.does = running_thread::state::waits;
        me.waits_for = what;
        me.until = until;
        go_on(false);
        me.does = running_thread::state::ready;
        me.waits_for = nullptr;
        me.until = clock_time::max();
    }

    bool is_late(void* place, void (*arrive)(void*) noexcept) {
        if (!how_.late || faults_.one_in(3)) return false;
        here().late_store = place;
        here().arrive = arrive;
        return true;
    }

    static void settle(running_thread& one) {
        if (auto* const place = std::exchange(one.late_store, nullptr)) one.arrive(place);
    }
    void settle(std::size_t number) { settle(*threads_[number - 1]); }
    void settle_all() {
        for (auto const& one : threads_) settle(*one);
    }

    void wake_one(void const* what) {
        std::vector<running_thread*> who;
        for (auto const& one : threads_) {
            if (waits(*one, what)) who.push_back(one.get());
        }
        if (!who.empty()) wake(*who[who.size() == 1 ? 0 : faults_.below(who.size())]);
    }

    void wake_all(void const* what) {
        for (auto const& one : threads_) {
            if (waits(*one, what)) wake(*one);
        }
    }

    [[nodiscard]] bool is_waited_for(void const* what) const {
        return std::ranges::any_of(threads_, [&](auto const& one) { return waits(*one, what); });
    }

    void join(std::size_t number) {
        point();
        auto const& other = *threads_[number - 1];
        while (other.does != running_thread::state::done) wait(&other, clock_time::max());
    }

    [[nodiscard]] bool has_ended(std::size_t number) const {
        return threads_[number - 1]->does == running_thread::state::done;
    }

    [[noreturn]] void fail(std::string const& why) {
        failure_ = why;
        here().its->switch_to(real_, true);
        std::abort();
    }

    [[nodiscard]] std::size_t alive() const {
        return static_cast<std::size_t>(
            std::ranges::count_if(threads_, [](auto const& one) { return one->does != running_thread::state::done; }));
    }

    running_thread& here() { return *threads_[current_ - 1]; }
    [[nodiscard]] std::size_t current() const { return current_; }
    [[nodiscard]] std::uint64_t steps() const { return steps_; }
    [[nodiscard]] clock_time now() const { return now_; }
    /// Takes time, as any operation: two looks one after the other may differ.
    [[nodiscard]] clock_time look_at_clock() { return now_ += how_.step; }
    [[nodiscard]] circumstances const& how() const { return how_; }
    dice& scenario() { return scenario_; }
    dice& faults() { return faults_; }
    void pass(std::chrono::nanoseconds time) { now_ += time; }

    bool threads_cannot_start = false;

private:
    // Kept for ever, in sight of a leak detector.
    static std::vector<std::unique_ptr<char[]>>& abandoned() {
        static auto& all = *new std::vector<std::unique_ptr<char[]>>;
        return all;
    }
    static std::vector<std::unique_ptr<running_thread>>& abandoned_threads() {
        static auto& all = *new std::vector<std::unique_ptr<running_thread>>;
        return all;
    }

    static bool waits(running_thread const& one, void const* what) {
        return one.does == running_thread::state::waits && one.waits_for == what;
    }
    static void wake(running_thread& one) {
        one.does = running_thread::state::ready;
        one.waits_for = nullptr;
    }

    static void begin() {
        running->here().its->arrived();
        try {
            running->here().body();
            running->here().body = nullptr;
        } catch (std::exception const& error) {
            running->fail(std::string("an exception left a thread: ") + error.what());
        } catch (...) {
            running->fail("an exception left a thread");
        }
        running->end();
    }

    [[noreturn]] void end() {
        auto& me = here();
        settle(me);
        if (me.mutexes != 0) fail("a thread ended with a mutex locked");
        me.owns.clear();
        me.does = running_thread::state::done;
        wake_all(&me);
        if (std::ranges::all_of(threads_, [](auto const& one) { return one->does == running_thread::state::done; })) {
            me.its->switch_to(real_, true);
        }
        go_on(false);
        std::abort();
    }

    [[nodiscard]] bool is_ready(running_thread const& one) const {
        return one.does == running_thread::state::ready ||
               (one.does == running_thread::state::waits && one.until <= now_);
    }

    /// Returns when the calling thread is picked; of one that is done, never.
    void go_on(bool yields) {
        ready_.clear();
        for (;;) {
            for (std::size_t i = 0; i < threads_.size(); ++i) {
                if (is_ready(*threads_[i])) ready_.push_back(i + 1);
            }
            if (!ready_.empty()) break;
            auto const next = earliest();
            if (next == clock_time::max() || next - now_ > patience) fail("nobody can go on: " + who_waits());
            if (next - begin_ > most_time) fail("does not end in a day: " + who_waits());
            now_ = next;
        }
        auto const next = ready_.size() == 1 ? ready_[0] : strategy_.next(ready_, current_, yields);
        if (next == current_) return;
        auto& me = *here().its;
        bool const for_ever = here().does == running_thread::state::done;
        current_ = next;
        me.switch_to(*here().its, for_ever);
    }

    [[nodiscard]] clock_time earliest() const {
        auto first = clock_time::max();
        for (auto const& one : threads_) {
            if (one->does == running_thread::state::waits && one->until > now_) first = (std::min)(first, one->until);
        }
        return first;
    }

    void jump() {
        switch (faults_.below(8)) {
            case 0: now_ += 10s; break;
            case 1: now_ += 50ms; break;
            case 2: now_ += 1ms; break;
            default:
                if (auto const next = earliest(); next != clock_time::max() && next - now_ < patience) now_ = next;
        }
    }

    [[nodiscard]] std::string who_waits() const {
        std::ostringstream text;
        for (std::size_t i = 0; i < threads_.size(); ++i) {
            auto const& one = *threads_[i];
            if (one.does == running_thread::state::done) continue;
            text << "thread " << i + 1 << (one.does == running_thread::state::waits ? " waits" : " runs");
            if (one.until != clock_time::max()) {
                text << " for " << std::chrono::duration<double>(one.until - now_).count() << " s";
            }
            text << "; ";
        }
        return text.str();
    }

    strategy& strategy_;
    circumstances const how_;
    dice scenario_;
    dice faults_;
    fiber real_;
    std::vector<std::unique_ptr<running_thread>> threads_;
    std::vector<std::size_t> ready_;
    std::size_t current_ = 0;
    std::uint64_t steps_ = 0;
    clock_time const begin_ = clock_time(1h * 24 * 365);
    clock_time now_ = begin_;
    std::string failure_;
};

// ---- what a crash prints

char how_to_repeat[256];

void say_how_to_repeat() noexcept {
    if (how_to_repeat[0] == 0) return;
    [[maybe_unused]] auto const written = write(STDERR_FILENO, how_to_repeat, std::strlen(how_to_repeat));
}

extern "C" void on_crash(int signal) {
    say_how_to_repeat();
    std::signal(signal, SIG_DFL);
    std::raise(signal);
}

void note(std::string const& repeat) {
    static bool const installed = [] {
        static char stack[64 << 10];
        stack_t other{};
        other.ss_sp = stack;
        other.ss_size = sizeof stack;
        sigaltstack(&other, nullptr);
        return true;
    }();
    static_cast<void>(installed);
    for (int const crash : {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT}) {
        struct sigaction act {};
        act.sa_handler = on_crash;
        act.sa_flags = SA_ONSTACK;
        sigaction(crash, &act, nullptr);
    }
    std::snprintf(how_to_repeat, sizeof how_to_repeat, "\ncrashed under %s\n", repeat.c_str());
}

// ---- which schedules

std::uint64_t number_in_environment(char const* name, std::uint64_t otherwise) {
    char const* const given = std::getenv(name);
    return given != nullptr ? std::strtoull(given, nullptr, 10) : otherwise;
}

/// All that a seed says.
std::string run(std::function<void()> const& scenario, std::uint64_t seed, allowance const& may) {
    dice drawn(seed);
    circumstances how{.seed = seed};
    constexpr std::chrono::nanoseconds steps[] = {0ns, 10ns, 1us};
    how.step = steps[drawn.below(std::size(steps))];
    how.jumps = may.clock_jumps && drawn.one_in(3);
    how.loses = may.lost_notifications && drawn.one_in(5);
    how.spurious = may.spurious_wake_ups && drawn.one_in(5);
    how.late = drawn.one_in(3);
    auto const strategy_seed = tests::mixed(seed);
    std::unique_ptr<strategy> by;
    if (drawn.one_in(3)) {
        by = std::make_unique<by_chance>(strategy_seed);
    } else {
        by = std::make_unique<by_priority>(strategy_seed, std::size_t{32} << drawn.below(9));
    }
    return world(*by, how).run(scenario);
}

std::string with_seed(std::string const& what, std::uint64_t seed) {
    return what + "\nthis schedule again: TIDEFALL_SEED=" + std::to_string(seed);
}

std::string by_seeds(std::function<void()> const& scenario, std::uint64_t first, std::size_t count,
                     allowance const& may) {
    for (std::size_t i = 0; i < count; ++i) {
        auto const seed = first + i;
        note("TIDEFALL_SEED=" + std::to_string(seed));
        if (auto const fault = run(scenario, seed, may); !fault.empty()) return with_seed(fault, seed);
    }
    how_to_repeat[0] = 0;
    return {};
}

std::string exhaustively(std::function<void()> const& scenario, std::size_t preemptions, std::size_t& count) {
    every_way all(preemptions);
    do {
        all.begin();
        note("TIDEFALL_CHOICES=" + all.choices());
        auto const fault = world(all, {}).run(scenario);
        ++count;
        if (!fault.empty())
            return fault + "\nthis schedule again: TIDEFALL_PREEMPTIONS=" + std::to_string(preemptions) +
                   " TIDEFALL_CHOICES=" + all.choices();
    } while (all.another());
    how_to_repeat[0] = 0;
    return {};
}

std::vector<std::size_t> parsed(char const* choices) {
    std::vector<std::size_t> all;
    std::istringstream text(choices);
    for (std::string one; std::getline(text, one, ',');) all.push_back(std::strtoull(one.c_str(), nullptr, 10));
    return all;
}

}  // namespace

#if defined(TIDEFALL_TESTS_ADDRESS_SANITIZER)
extern "C" void __asan_on_error() {
    say_how_to_repeat();
}
#endif

void schedules(std::function<void()> const& scenario, allowance const& may) {
    std::string found;
    auto const preemptions = may.exhaustively ? number_in_environment("TIDEFALL_PREEMPTIONS", 0) : 0;
    if (char const* const choices = std::getenv("TIDEFALL_CHOICES"); choices != nullptr && preemptions > 0) {
        every_way one(preemptions);
        one.begin(parsed(choices));
        found = world(one, {}).run(scenario);
    } else if (preemptions > 0) {
        std::size_t count = 0;
        found = exhaustively(scenario, preemptions, count);
        WARN(count << " ways with up to " << preemptions << " preemptions");
    } else if (std::getenv("TIDEFALL_SEED") != nullptr) {
        found = by_seeds(scenario, number_in_environment("TIDEFALL_SEED", 0), 1, may);
    } else {
        auto const count = number_in_environment("TIDEFALL_SCHEDULES", 100);
        auto const first = number_in_environment("TIDEFALL_FIRST_SEED", std::random_device()());
        found = by_seeds(scenario, first, static_cast<std::size_t>(count), may);
    }
    INFO(found);
    REQUIRE(found.empty());
}

std::string fault(std::function<void()> const& scenario, std::size_t count, allowance const& may) {
    return by_seeds(scenario, 1, count, may);
}

std::string fault_in_any_way(std::function<void()> const& scenario, std::size_t preemptions) {
    std::size_t ways = 0;
    return exhaustively(scenario, preemptions, ways);
}

void fail(std::string const& why) {
    if (running == nullptr) {
        std::fprintf(stderr, "outside of a schedule: %s\n", why.c_str());
        std::abort();
    }
    running->fail("thread " + std::to_string(running->current()) + ", step " + std::to_string(running->steps()) + ": " +
                  why);
}

std::size_t draw(std::size_t limit) {
    return running->scenario().below(limit);
}

std::uint64_t steps() {
    return running->steps();
}

void require_no_lock(std::string_view where) {
    if (running->here().mutexes != 0) fail("a mutex is held in " + std::string(where));
}

void pass(std::chrono::nanoseconds time) {
    running->pass(time);
    point();
}

void rest() {
    running->pass(10ms);
    yield();
}

std::size_t threads_alive() {
    return running->alive();
}

void threads_cannot_start(bool cannot) {
    running->threads_cannot_start = cannot;
}

void on_sleep(std::function<void()> call) {
    running->here().on_sleep = std::move(call);
}

bool inside() noexcept {
    return running != nullptr;
}

void point() noexcept {
    if (running != nullptr) running->point();
}

void operation() noexcept {
    if (running == nullptr) return;
    running->point();
    running->settle(running->current());
}

bool is_late(void* place, void (*arrive)(void*) noexcept) noexcept {
    return running != nullptr && running->is_late(place, arrive);
}

void settle(std::size_t thread) noexcept {
    if (running != nullptr) running->settle(thread);
}

void settle_all() noexcept {
    if (running != nullptr) running->settle_all();
}

void yield() noexcept {
    if (running != nullptr) running->point(true);
}

clock_time now() noexcept {
    return running != nullptr ? running->look_at_clock() : std::chrono::steady_clock::now();
}

void wait_for(void const* what, clock_time until) noexcept {
    running->wait(what, until);
}

void wake_one(void const* what) noexcept {
    if (running != nullptr) running->wake_one(what);
}

void wake_all(void const* what) noexcept {
    if (running != nullptr) running->wake_all(what);
}

bool is_waited_for(void const* what) noexcept {
    return running != nullptr && running->is_waited_for(what);
}

void sleep_until(clock_time until) noexcept {
    if (running == nullptr) return;
    if (auto const& call = running->here().on_sleep) call();
    running->point();
    running->wait(nullptr, until);
}

bool loses_notification() noexcept {
    return running != nullptr && running->how().loses && running->faults().one_in(4);
}

bool wakes_spuriously() noexcept {
    return running != nullptr && running->how().spurious && running->faults().one_in(20);
}

std::chrono::nanoseconds recheck_interval() noexcept {
    return running != nullptr && !running->how().loses ? std::chrono::nanoseconds(1h) : std::chrono::nanoseconds(1s);
}

std::size_t this_thread() noexcept {
    return running != nullptr ? running->current() : 0;
}

void require_thread() {
    if (running->threads_cannot_start) {
        throw std::system_error(std::make_error_code(std::errc::resource_unavailable_try_again), "no thread");
    }
}

std::size_t start_thread(std::function<void()> body) {
    auto const number = running->start(std::move(body));
    running->point();
    return number;
}

void join_thread(std::size_t number) noexcept {
    running->join(number);
}

bool has_ended(std::size_t number) noexcept {
    return running != nullptr && running->has_ended(number);
}

void holds_mutex(int more) noexcept {
    if (running != nullptr) running->here().mutexes += more;
}

std::shared_ptr<void>& own(void const* key) noexcept {
    auto& all = running->here().owns;
    for (auto& [its, object] : all) {
        if (its == key) return object;
    }
    all.reserve(16);  // what is referred to stays where it is
    return all.emplace_back(key, nullptr).second;
}

}  // namespace explore
