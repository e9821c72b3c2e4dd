// SPDX-License-Identifier: MIT
#pragma once

#include "../support/stop_request.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

namespace broker_bridge {

/// Takes connections to a port of 127.0.0.1, and lines from all of them, on one thread. A reader that waits for room
/// reads nothing, so that those who write wait too.
class listener {
public:
    explicit listener(std::uint16_t port) {
        add(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
        int const yes = 1;
        ::setsockopt(all_[0].socket, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
        sockaddr_in at = {};
        at.sin_family = AF_INET;
        at.sin_port = htons(port);
        at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        auto* const address = reinterpret_cast<sockaddr*>(&at);
        ::socklen_t size = sizeof at;
        if (::bind(all_[0].socket, address, size) != 0 || ::listen(all_[0].socket, 128) != 0 ||
            ::getsockname(all_[0].socket, address, &size) != 0) {
            auto const error = errno;
            ::close(all_[0].socket);
            throw std::system_error(error, std::generic_category(), "cannot listen to port " + std::to_string(port));
        }
        port_ = ntohs(at.sin_port);
    }
    listener(listener const&) = delete;
    listener& operator=(listener const&) = delete;
    ~listener() {
        for (auto const& one : all_) ::close(one.socket);
    }

    [[nodiscard]] std::uint16_t port() const { return port_; }

    /// Calls `each(line)` until a stop is asked for. A line without an end is one where its connection ends.
    template <typename Each>
    void run(access_log::stop_request const& stop, Each&& each) {
        while (!stop.asked()) {
            std::vector<pollfd> polled{{.fd = stop.descriptor(), .events = POLLIN, .revents = 0}};
            for (auto const& one : all_) polled.push_back({.fd = one.socket, .events = POLLIN, .revents = 0});
            if (::poll(polled.data(), polled.size(), -1) < 0) continue;
            for (std::size_t i = all_.size(); i-- > 1 && !stop.asked();) {
                if (polled[i + 1].revents != 0 && !read(all_[i], each)) {
                    ::close(all_[i].socket);
                    all_.erase(all_.begin() + static_cast<std::ptrdiff_t>(i));
                }
            }
            if (polled[1].revents != 0) add(::accept4(all_[0].socket, nullptr, nullptr, SOCK_CLOEXEC));
        }
    }

private:
    struct connection {
        int socket;
        std::string unfinished;
    };

    void add(int socket) {
        if (socket >= 0) all_.push_back({socket, {}});
    }

    /// False at the end of the connection, and where a line is longer than 1 MiB.
    template <typename Each>
    bool read(connection& from, Each& each) {
        char text[65'536];
        auto const count = ::recv(from.socket, text, sizeof text, 0);
        if (count < 0 && errno == EINTR) return true;
        if (count <= 0) {
            if (!from.unfinished.empty()) each(std::string_view(from.unfinished));
            return false;
        }
        std::string_view rest(text, static_cast<std::size_t>(count));
        for (auto end = rest.find('\n'); end != std::string_view::npos; end = rest.find('\n')) {
            from.unfinished += rest.substr(0, end);
            if (!from.unfinished.empty()) each(std::string_view(from.unfinished));
            from.unfinished.clear();
            rest.remove_prefix(end + 1);
        }
        from.unfinished += rest;
        return from.unfinished.size() <= 1'048'576;
    }

    std::vector<connection> all_ = {};  ///< the first one is that which others come from
    std::uint16_t port_ = 0;
};

}  // namespace broker_bridge
