// SPDX-License-Identifier: MIT
#pragma once

#include "metric_line.hpp"
#include "settings.hpp"
#include "tables.hpp"

#include <arpa/inet.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <vector>

namespace statsd {

struct receiver_counts {
    std::uint64_t packets = 0;
    std::uint64_t values = 0;
    std::uint64_t malformed = 0;       ///< lines
    std::uint64_t kernel_dropped = 0;  ///< datagrams for which a socket had no room
};

/// One socket for datagrams.
class udp_socket {
public:
    udp_socket(settings const& how, int port, bool shares = true)
        : fd_(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)) {
        require(fd_ >= 0, "cannot make a socket");
        // Several sockets have one port: the kernel gives all of a sender's datagrams to the same one, in their order.
        if (shares) set(SOL_SOCKET, SO_REUSEPORT, 1);
        if (how.receive_buffer > 0) set(SOL_SOCKET, SO_RCVBUF, how.receive_buffer);
        timeval const wait = {.tv_sec = 0, .tv_usec = 100'000};  // then it looks whether it is to end
        require(::setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait) == 0, "SO_RCVTIMEO");
        sockaddr_in at = {};
        at.sin_family = AF_INET;
        at.sin_port = htons(static_cast<std::uint16_t>(port));
        if (::inet_pton(AF_INET, how.address.c_str(), &at.sin_addr) != 1) {
            throw std::runtime_error(how.address + " is no IPv4 address");
        }
        require(::bind(fd_, reinterpret_cast<sockaddr const*>(&at), sizeof at) == 0,
                "cannot listen on " + how.address + ":" + std::to_string(port));
    }
    udp_socket(udp_socket const&) = delete;
    udp_socket& operator=(udp_socket const&) = delete;
    ~udp_socket() { ::close(fd_); }

    [[nodiscard]] int port() const {
        sockaddr_in at = {};
        socklen_t size = sizeof at;
        require(::getsockname(fd_, reinterpret_cast<sockaddr*>(&at), &size) == 0, "getsockname");
        return ntohs(at.sin_port);
    }

    [[nodiscard]] std::uint64_t dropped() const {
        std::array<std::uint32_t, SK_MEMINFO_VARS> info = {};
        socklen_t size = sizeof info;
        return ::getsockopt(fd_, SOL_SOCKET, SO_MEMINFO, info.data(), &size) == 0 ? info[SK_MEMINFO_DROPS] : 0;
    }

    [[nodiscard]] int descriptor() const { return fd_; }

private:
    static void require(bool holds, std::string const& what) {
        if (!holds) throw std::system_error(errno, std::generic_category(), what);
    }
    void set(int level, int option, int value) {
        require(::setsockopt(fd_, level, option, &value, sizeof value) == 0, "setsockopt");
    }

    int const fd_;
};

/// Threads that take datagrams from the kernel, up to 64 by a call, and add what is in them to the tables.
class receiver {
public:
    receiver(settings const& how, tables& to) : to_(to) {
        int port = how.port;
        if (port != 0) require_unused(how);
        for (std::size_t i = 0; i < how.threads; ++i) {
            lanes_.push_back(std::make_unique<lane>(how, port));
            port = lanes_.front()->socket.port();
        }
        port_ = port;
        for (auto& one : lanes_) one->thread = std::thread([this, &one] { receive(*one); });
    }
    receiver(receiver const&) = delete;
    receiver& operator=(receiver const&) = delete;
    ~receiver() { stop(); }

    /// What the kernel has taken is read and added before it returns.
    void stop() {
        stopping_.store(true);
        for (auto& one : lanes_) {
            if (one->thread.joinable()) one->thread.join();
        }
    }

    [[nodiscard]] int port() const { return port_; }

    [[nodiscard]] receiver_counts counts() const {
        receiver_counts all;
        for (auto const& one : lanes_) {
            all.packets += one->packets.load(std::memory_order_relaxed);
            all.values += one->values.load(std::memory_order_relaxed);
            all.malformed += one->malformed.load(std::memory_order_relaxed);
            all.kernel_dropped += one->socket.dropped();
        }
        return all;
    }

private:
    static constexpr std::size_t at_once = 64;
    static constexpr std::size_t longest = 65'536;

    struct alignas(64) lane {
        lane(settings const& how, int port) : socket(how, port) {}
        udp_socket socket;
        std::atomic<std::uint64_t> packets = 0;  // written by the lane's thread alone
        std::atomic<std::uint64_t> values = 0;
        std::atomic<std::uint64_t> malformed = 0;
        series_key keys = {};
        std::thread thread = {};
    };

    /// Sockets that want to share a port may share it with another server's: a port that is taken is to be an error.
    static void require_unused(settings const& how) { udp_socket const alone(how, how.port, false); }

    void receive(lane& on) {
        std::vector<char> room(at_once * longest);
        std::array<iovec, at_once> parts = {};
        std::array<mmsghdr, at_once> messages = {};
        for (std::size_t i = 0; i < at_once; ++i) {
            parts[i] = {.iov_base = room.data() + i * longest, .iov_len = longest};
            messages[i].msg_hdr.msg_iov = &parts[i];
            messages[i].msg_hdr.msg_iovlen = 1;
        }
        for (;;) {
            bool const is_last = stopping_.load();
            int const got = ::recvmmsg(on.socket.descriptor(), messages.data(), at_once,
                                       is_last ? MSG_DONTWAIT : MSG_WAITFORONE, nullptr);
            if (got < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR) return;
            if (got < 0 && is_last) return;
            for (std::size_t i = 0; got > 0 && i < static_cast<std::size_t>(got); ++i) {
                add(on, {static_cast<char const*>(parts[i].iov_base), messages[i].msg_len});
            }
            if (got > 0) on.packets.fetch_add(static_cast<std::uint64_t>(got), std::memory_order_relaxed);
        }
    }

    void add(lane& on, std::string_view packet) {
        std::uint64_t values = 0;
        while (!packet.empty()) {
            auto line = detail::take(packet, '\n');
            if (line.ends_with('\r')) line.remove_suffix(1);
            if (line.empty()) continue;
            bool const is_right = parse_line(line, [&](measurement const& one) {
                to_.add(on.keys.of(one), one);
                ++values;
            });
            if (!is_right) on.malformed.fetch_add(1, std::memory_order_relaxed);
        }
        on.values.fetch_add(values, std::memory_order_relaxed);
    }

    tables& to_;
    int port_ = 0;
    std::atomic<bool> stopping_ = false;
    std::vector<std::unique_ptr<lane>> lanes_ = {};
};

}  // namespace statsd
