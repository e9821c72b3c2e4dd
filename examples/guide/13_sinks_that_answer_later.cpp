// SPDX-License-Identifier: MIT
//
// The code of 13_sinks_that_answer_later.md.
#include "check.hpp"

#include <tidefall/manual_runtime.hpp>
#include <tidefall/queue.hpp>

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <deque>
#include <exception>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <span>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>
#include <version>

#if defined(__cpp_lib_coroutine)
#include <coroutine>
#endif

using namespace std::chrono_literals;

struct event {
    int user = 0;
    std::string what;
};

/// Stands for a client library: it takes requests, and calls back on a thread of its own once the server has answered.
/// The server takes a request unless it holds an event of user 13.
class client {
public:
    using callback = std::function<void(std::exception_ptr)>;

    client() = default;
    ~client() {
        {
            std::lock_guard const lock(mutex_);
            done_ = true;
        }
        added_.notify_one();
        thread_.join();
    }

    void send(std::span<event const> values, callback then) {
        std::exception_ptr error;
        for (event const& one : values) {
            if (one.user == 13) error = std::make_exception_ptr(std::runtime_error("the server did not take it"));
        }
        std::lock_guard const lock(mutex_);
        requests_.push_back([then = std::move(then), error] { then(error); });
        added_.notify_one();
    }

    std::future<void> request(std::span<event const> values) {
        auto const answer = std::make_shared<std::promise<void>>();
        send(values,
             [answer](std::exception_ptr error) { error ? answer->set_exception(error) : answer->set_value(); });
        return answer->get_future();
    }

#if defined(__cpp_lib_coroutine)
    /// What a coroutine waits for: it goes on on the client's thread.
    struct response {
        client& its;
        std::span<event const> values;
        std::exception_ptr error = {};

        bool await_ready() const noexcept { return false; }
        void await_suspend(std::coroutine_handle<> waiting) {
            its.send(values, [this, waiting](std::exception_ptr said) {
                error = std::move(said);
                waiting.resume();
            });
        }
        void await_resume() const {
            if (error) std::rethrow_exception(error);
        }
    };
    response sent(std::span<event const> values) {
        return {*this, values};
    }
#endif

private:
    void run() {
        for (std::unique_lock lock(mutex_);;) {
            added_.wait(lock, [&] { return done_ || !requests_.empty(); });
            if (requests_.empty()) return;
            {
                auto const answer = std::move(requests_.front());
                requests_.pop_front();
                lock.unlock();
                answer();
            }
            lock.lock();
        }
    }

    std::mutex mutex_;
    std::condition_variable added_;
    std::deque<std::function<void()>> requests_;
    bool done_ = false;
    std::thread thread_{[this] { run(); }};
};

void callbacks() {
    client sink;
    std::vector<int> lost;
    auto const undelivered = [&](std::span<event> values, tidefall::failure const& failure) {  // on the client's thread
        check(failure.reason == tidefall::failure_reason::exception);
        for (event const& one : values) lost.push_back(one.user);
    };
    tidefall::queue<event> events(
        {.name = "events", .partitions = 1, .processing_batch_size = 2, .max_in_flight = 8},
        [&](tidefall::async_batch<event> batch) {
            auto const held = std::make_shared<tidefall::async_batch<event>>(std::move(batch));
            sink.send(held->values(), [held](std::exception_ptr error) {  // later, on a thread of the client's
                error ? held->fail(error) : held->complete();
            });
        },
        undelivered);
    for (int user = 0; user < 20; ++user) events.push({user, "signed in"});
    events.stop();  // waits for the answers
    check(events.stats().processed == 18 && events.stats().failed == 2);
    check(lost == std::vector{12, 13});
}

void forgotten() {
    auto clock = tidefall::make_manual_runtime();
    std::string why;
    tidefall::queue<event> events(
        {.name = "events", .partitions = 1, .runtime = clock}, [](tidefall::async_batch<event>) {},
        [&](std::span<event>, tidefall::failure const& failure) {
            try {
                std::rethrow_exception(failure.error);
            } catch (tidefall::broken_batch const& error) {
                why = error.what();
            }
        });
    events.push({1, "signed in"});
    check(events.stop().failed == 1);
    check(why == "tidefall: an async_batch was destroyed before it was completed");
}

#if defined(__cpp_lib_coroutine)
/// The type of a coroutine that nobody waits for: it starts at once, and frees itself at its end.
struct detached {
    struct promise_type {
        detached get_return_object() noexcept { return {}; }
        std::suspend_never initial_suspend() noexcept { return {}; }
        std::suspend_never final_suspend() noexcept { return {}; }
        void return_void() noexcept {}
        void unhandled_exception() noexcept { std::terminate(); }
    };
};

detached send(client& sink, tidefall::async_batch<event> batch) {
    try {
        co_await sink.sent(batch.values());
        batch.complete();
    } catch (...) {
        batch.fail(std::current_exception());
    }
}

void coroutines() {
    client sink;
    tidefall::queue<event> events({.name = "events", .max_in_flight = 8, .unheard = tidefall::unheard_action::ignore},
                                  [&](tidefall::async_batch<event> batch) { send(sink, std::move(batch)); });
    for (int user = 0; user < 20; ++user) events.push({user, "signed in"});
    events.stop();
    check(events.stats().processed == 10 && events.stats().failed == 10);
}
#else
void coroutines() {
}
#endif

/// Completes each batch with what its future says. One thread waits for all of them, in their order.
class answers {
public:
    answers() = default;
    ~answers() {
        {
            std::lock_guard const lock(mutex_);
            done_ = true;
        }
        added_.notify_one();
        thread_.join();
    }

    void expect(std::future<void> answer, tidefall::async_batch<event> batch) {
        std::lock_guard const lock(mutex_);
        expected_.emplace_back(std::move(answer), std::move(batch));
        added_.notify_one();
    }

private:
    void run() {
        for (std::unique_lock lock(mutex_);; lock.lock()) {
            added_.wait(lock, [&] { return done_ || !expected_.empty(); });
            if (expected_.empty()) return;
            auto [answer, batch] = std::move(expected_.front());
            expected_.pop_front();
            lock.unlock();
            try {
                answer.get();
                batch.complete();
            } catch (...) {
                batch.fail(std::current_exception());
            }
        }
    }

    std::mutex mutex_;
    std::condition_variable added_;
    std::deque<std::pair<std::future<void>, tidefall::async_batch<event>>> expected_;
    bool done_ = false;
    std::thread thread_{[this] { run(); }};
};

void futures() {
    client sink;
    answers later;  // before the queue, whose destructor waits for its batches
    tidefall::queue<event> events(
        {.name = "events", .partitions = 1, .max_in_flight = 8, .unheard = tidefall::unheard_action::ignore},
        [&](tidefall::async_batch<event> batch) {
            auto answer = sink.request(batch.values());
            later.expect(std::move(answer), std::move(batch));
        });
    for (int user = 0; user < 20; ++user) events.push({user, "signed in"});
    events.stop();
    check(events.stats().processed == 10 && events.stats().failed == 10);
}

void in_parts() {
    auto clock = tidefall::make_manual_runtime();
    std::vector<tidefall::async_batch<event>> out;
    tidefall::queue<event> events(
        {.name = "events", .partitions = 1, .processing_batch_size = 2, .max_in_flight = 2, .runtime = clock},
        [&](tidefall::async_batch<event> batch) { out.push_back(std::move(batch)); });
    for (int user = 0; user < 6; ++user) events.push({user, "signed in"});
    clock->advance(5s);
    check(out.size() == 2 && events.stats().in_flight == 6);  // the third batch waits for its turn

    tidefall::batch_result result;
    result.reject(1);
    result.retry_after(1s);
    out[0].complete(std::move(result));
    out[1].complete();
    clock->advance(999ms);
    check(out.size() == 2);  // nothing is handed out before what is to be offered again
    clock->advance(1ms);
    check(out.size() == 4 && out[2].values().size() == 1 && out[3].values().size() == 2);
    check(out[2].info().attempt == 2 && out[2].values()[0].user == 1);

    out[3].complete();  // in whatever order
    out[2].complete();
    out[2].fail(nullptr);  // says nothing: the first outcome counts
    check(events.stats().processed == 6);
}

#if defined(__cpp_lib_jthread)
void too_long() {
    auto clock = tidefall::make_manual_runtime();
    std::vector<tidefall::async_batch<event>> out;
    std::size_t lost = 0;
    auto const undelivered = [&](std::span<event> values, tidefall::failure const& failure) {
        check(failure.reason == tidefall::failure_reason::timeout);
        lost += values.size();
    };
    tidefall::queue<event> events(
        {.name = "events",
         .partitions = 1,
         .processing_timeout = 30s,
         .timeout_action = tidefall::timeout_action::abandon,
         .runtime = clock},
        [&](tidefall::async_batch<event> batch) { out.push_back(std::move(batch)); }, undelivered);
    for (int user = 0; user < 20; ++user) events.push({user, "signed in"});
    clock->advance(5s);
    auto const token = out[0].token();
    clock->advance(30s);
    check(token.stop_requested() && events.stats().failed == 10 && events.stats().abandoned == 10);
    check(out.size() == 2);  // the partition goes on with the next batch
    out[0].complete();       // too late
    check(lost == 10 && events.stats().abandoned == 0);
    out[1].complete();
    check(events.stats().processed == 10);
}
#else
void too_long() {
}
#endif

int main() {
    callbacks();
    forgotten();
    coroutines();
    futures();
    in_parts();
    too_long();
}
