// SPDX-License-Identifier: MIT
#pragma once

#include "row.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <fstream>
#include <mutex>
#include <string>
#include <string_view>
#include <system_error>
#include <unordered_set>

namespace postgres_ingest {

/// The file of what cannot be in the table: log, line, reason and text of each, as COPY's text format has them. Each
/// line is there once, however often it is read. Several threads may call everything.
class rejects {
public:
    /// Makes the file if there is none.
    explicit rejects(std::string const& file) : name_(file) {
        std::ifstream already(file);
        for (std::string one; std::getline(already, one);) known_.emplace(key_of(one));
        descriptor_ = ::open(file.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        if (descriptor_ < 0) throw failure();
    }
    rejects(rejects const&) = delete;
    rejects& operator=(rejects const&) = delete;
    ~rejects() { ::close(descriptor_); }

    /// A line that is no row.
    void add(line_id const& id, std::string_view reason, std::string_view text) {
        std::string key;
        append_id(key, id);
        add(key, reason, text);
    }

    /// A row that the server refused.
    void add(row const& refused, std::string_view reason) {
        auto const key = key_of(refused);
        add(key, reason, std::string_view(refused).substr(key.size(), refused.size() - key.size() - 1));
    }

    [[nodiscard]] std::uint64_t count() const {
        std::lock_guard const lock(mutex_);
        return count_;
    }

private:
    /// The log and the line, each with a tab behind it.
    static std::string_view key_of(std::string_view one) {
        return one.substr(0, one.find('\t', one.find('\t') + 1) + 1);
    }

    void add(std::string_view key, std::string_view reason, std::string_view text) {
        std::string one(key);
        append_text(one, reason);
        append_text(one, text, '\n');
        std::lock_guard const lock(mutex_);
        ++count_;
        if (!known_.emplace(key).second) return;
        // One write: a process that is killed leaves the whole of it, or nothing.
        if (::write(descriptor_, one.data(), one.size()) != static_cast<::ssize_t>(one.size())) {
            known_.erase(std::string(key));
            --count_;
            throw failure();
        }
    }

    [[nodiscard]] std::system_error failure() const {
        return {errno, std::generic_category(), "cannot write to " + name_};
    }

    std::string const name_;
    int descriptor_ = -1;
    mutable std::mutex mutex_ = {};
    std::unordered_set<std::string> known_ = {};  ///< the keys
    std::uint64_t count_ = 0;                     ///< of this run
};

}  // namespace postgres_ingest
