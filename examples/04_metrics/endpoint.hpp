// SPDX-License-Identifier: MIT
#pragma once

#include <httplib.h>
#include <sys/socket.h>

#include <atomic>
#include <functional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>

namespace metrics_example {

/// What a browser gets that is given the address alone.
inline constexpr char const* front_page =
    "<!DOCTYPE html>\n<html lang=\"en\">\n<title>04_metrics</title>\n<h1>04_metrics</h1>\n"
    "<p>Several threads write events into a buffer; its sink takes them in batches and fails now and then.</p>\n"
    "<p><a href=\"/metrics\">/metrics</a>: what the buffer counts, for Prometheus.</p>\n</html>\n";

/// Serves a text that is made for each request at http://127.0.0.1:PORT/metrics, and a page that says so at /, on
/// threads of its own, as long as it lives.
class endpoint {
public:
    /// Port 0 means any that is free.
    endpoint(int port, char const* content_type, std::function<std::string()> text) {
        // The library shares its port with whoever asks the same way: a port that is taken is to be an error.
        server_.set_socket_options([](socket_t socket) {
            int const yes = 1;
            ::setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
        });
        server_.set_keep_alive_timeout(1);  // seconds; the end waits for open connections
        server_.Get("/metrics", [content_type, text = std::move(text)](auto const&, httplib::Response& response) {
            response.set_content(text(), content_type);
        });
        server_.Get("/", [](auto const&, httplib::Response& response) {
            response.set_content(front_page, "text/html; charset=utf-8");
        });
        constexpr char const* loopback = "127.0.0.1";
        bool const any = port == 0;
        port_ = any ? server_.bind_to_any_port(loopback) : port;
        if (any ? port_ <= 0 : !server_.bind_to_port(loopback, port)) {
            throw std::runtime_error("cannot listen on " + std::string(loopback) + ":" + std::to_string(port));
        }
        thread_ = std::thread([this] {
            server_.listen_after_bind();
            ended_ = true;
        });
        while (!server_.is_running() && !ended_) std::this_thread::yield();  // a stop before that would be lost
    }

    endpoint(endpoint const&) = delete;
    endpoint& operator=(endpoint const&) = delete;

    ~endpoint() {
        server_.stop();
        thread_.join();
    }

    [[nodiscard]] int port() const noexcept { return port_; }

private:
    httplib::Server server_;
    int port_ = 0;
    std::atomic<bool> ended_ = false;
    std::thread thread_;
};

}  // namespace metrics_example
