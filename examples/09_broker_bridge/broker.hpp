// SPDX-License-Identifier: MIT
//
// What the bridge wants of a client of brokers. kafka.cpp and nats.cpp have one each.
#pragma once

#include "settings.hpp"

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace broker_bridge {

struct message {
    std::string id = {};
    std::string text = {};
    std::size_t key_at = 0;
    std::size_t key_size = 0;

    [[nodiscard]] std::string_view key() const { return std::string_view(text).substr(key_at, key_size); }
};

/// What became of a batch: the indices of the messages that no broker has confirmed, in order, and a reason.
struct answer {
    std::vector<std::size_t> unconfirmed = {};
    std::string reason = {};
};

/// A batch that is out: it collects what becomes of each message, and tells it once all are known and the sender has
/// done with them. From any thread.
class sent_batch {
public:
    sent_batch(std::size_t size, std::function<void(answer)> tell)
        : is_open_(size, true), left_(size + 1), tell_(std::move(tell)) {}

    void confirm(std::size_t index) { end(index, nullptr); }
    void fail(std::size_t index, std::string_view reason) { end(index, &reason); }

    /// All that are not known have failed. What is said of them later is ignored.
    void fail_rest(std::string_view reason) {
        for (std::size_t i = 0; i < is_open_.size(); ++i) fail(i, reason);
    }

    /// The sender's last word.
    void all_sent() { end_one(); }

private:
    void end(std::size_t index, std::string_view const* failed) {
        {
            std::lock_guard const lock(mutex_);
            if (!is_open_[index]) return;
            is_open_[index] = false;
            if (failed != nullptr) {
                answer_.unconfirmed.push_back(index);
                answer_.reason = *failed;
            }
        }
        end_one();
    }

    void end_one() {
        if (left_.fetch_sub(1) == 1) tell_(std::move(answer_));
    }

    std::mutex mutex_ = {};
    std::vector<bool> is_open_;  ///< guarded by mutex_
    answer answer_ = {};         ///< guarded by mutex_, until none is left
    std::atomic<std::size_t> left_;
    std::function<void(answer)> const tell_;
};

class broker {
public:
    broker() = default;
    broker(broker const&) = delete;
    broker& operator=(broker const&) = delete;
    virtual ~broker() = default;

    /// Sends all, and returns before they are there. `tell` is called once, on any thread, when each is confirmed or
    /// has failed; until then the messages stay where they are. From several threads.
    virtual void send(std::span<message const> batch, std::function<void(answer)> tell) = 0;

    /// What is out has failed, now.
    virtual void give_up() = 0;

    /// Messages that failed, and that a broker may have: sent again they may be there twice. Of JetStream: messages
    /// that the server says it had, and left out.
    [[nodiscard]] std::uint64_t doubtful() const { return doubtful_.load(); }

protected:
    std::atomic<std::uint64_t> doubtful_ = 0;
};

/// Throw std::runtime_error where the settings are none.
std::unique_ptr<broker> make_kafka(settings const& how);
std::unique_ptr<broker> make_nats(settings const& how);

}  // namespace broker_bridge
