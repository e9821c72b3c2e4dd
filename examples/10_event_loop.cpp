// SPDX-License-Identifier: MIT
//
// A program of one thread: an epoll loop that has a socket, a timer and a tidefall queue in it. Measurements come as
// datagrams, one "NAME NUMBER" each; every 20 ms, or every 500 of them, their sums are brought up to date in one call.
//
//     10_event_loop          # sends itself 10,000 datagrams from a second process, and checks the sums
#include <tidefall/queue.hpp>
#include <tidefall/runtime.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <span>
#include <string>
#include <system_error>
#include <utility>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cerrno>

using namespace std::chrono_literals;

namespace {

constexpr int datagrams = 10'000;

struct measurement {
    std::string name;
    std::int64_t number;
};

/// A descriptor, closed at the end.
class descriptor {
public:
    descriptor(int fd, char const* what) : fd_(fd) {
        if (fd < 0) throw std::system_error(errno, std::generic_category(), what);
    }
    ~descriptor() { close(fd_); }
    descriptor(descriptor const&) = delete;
    descriptor& operator=(descriptor const&) = delete;
    operator int() const noexcept { return fd_; }  // NOLINT(google-explicit-constructor)

private:
    int fd_;
};

void require(bool holds, char const* what) {
    if (!holds) throw std::system_error(errno, std::generic_category(), what);
}

/// Sends datagrams to that port, a little at a time, so that none is lost on the way.
void send_to(in_port_t port) {
    descriptor const out(socket(AF_INET, SOCK_DGRAM, 0), "socket");
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = port;
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    require(connect(out, reinterpret_cast<sockaddr const*>(&to), sizeof(to)) == 0, "connect");
    for (int i = 0; i < datagrams; ++i) {
        std::string const text = (i % 2 == 0 ? "even " : "odd ") + std::to_string(i);
        require(send(out, text.data(), text.size(), 0) == static_cast<ssize_t>(text.size()), "send");
        std::array<char, 1> answer{};  // the other side says when it has read
        require(recv(out, answer.data(), answer.size(), 0) == 1, "recv");
    }
}

class event_loop {
public:
    event_loop() {
        watch(socket_);
        watch(timer_);
        watch(wakes_);
        sockaddr_in at{};
        at.sin_family = AF_INET;
        at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        socklen_t size = sizeof(at);
        require(bind(socket_, reinterpret_cast<sockaddr const*>(&at), size) == 0, "bind");
        require(getsockname(socket_, reinterpret_cast<sockaddr*>(&at), &size) == 0, "getsockname");
        port_ = at.sin_port;
    }

    in_port_t port() const noexcept { return port_; }

    /// Until all datagrams are summed up.
    void run() {
        while (summed_ < datagrams) {
            set_timer(polled_->next_deadline());
            std::array<epoll_event, 8> events{};
            int const count = epoll_wait(epoll_, events.data(), static_cast<int>(events.size()), -1);
            if (count < 0 && errno == EINTR) continue;
            require(count >= 0, "epoll_wait");
            for (auto const& event : std::span(events).first(static_cast<std::size_t>(count))) {
                if (event.data.fd == socket_) {
                    read_datagrams();
                } else {
                    std::uint64_t times = 0;  // the timer, or a wake-up: what is due is done below
                    require(read(event.data.fd, &times, sizeof(times)) == sizeof(times), "read");
                }
            }
            polled_->poll();
        }
    }

    std::map<std::string, std::int64_t> const& sums() const noexcept { return sums_; }
    int calls() const noexcept { return calls_; }

private:
    void watch(int fd) {
        epoll_event event{};
        event.events = EPOLLIN;
        event.data.fd = fd;
        require(epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &event) == 0, "epoll_ctl");
    }

    /// The timer's clock is the runtime's, std::chrono::steady_clock.
    void set_timer(std::chrono::steady_clock::time_point at) {
        itimerspec when{};
        if (at != std::chrono::steady_clock::time_point::max()) {
            auto const since = std::max(at.time_since_epoch(), std::chrono::steady_clock::duration(1));
            auto const seconds = std::chrono::duration_cast<std::chrono::seconds>(since);
            when.it_value.tv_sec = static_cast<time_t>(seconds.count());
            when.it_value.tv_nsec = static_cast<long>((since - seconds).count());
        }
        require(timerfd_settime(timer_, TFD_TIMER_ABSTIME, &when, nullptr) == 0, "timerfd_settime");
    }

    void read_datagrams() {
        for (;;) {
            std::array<char, 64> text{};
            sockaddr_in from{};
            socklen_t size = sizeof(from);
            auto const got = recvfrom(socket_, text.data(), text.size() - 1, MSG_DONTWAIT,
                                      reinterpret_cast<sockaddr*>(&from), &size);
            if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return;
            require(got >= 0, "recvfrom");
            std::string const line(text.data(), static_cast<std::size_t>(got));
            auto const space = line.find(' ');
            measurements_.push({line.substr(0, space), std::strtoll(line.c_str() + space, nullptr, 10)});
            sendto(socket_, ".", 1, 0, reinterpret_cast<sockaddr const*>(&from), size);
        }
    }

    void add(std::span<measurement const> batch) {
        ++calls_;
        for (auto const& one : batch) sums_[one.name] += one.number;
        summed_ += static_cast<int>(batch.size());
    }

    descriptor epoll_{epoll_create1(0), "epoll_create1"};
    descriptor socket_{socket(AF_INET, SOCK_DGRAM, 0), "socket"};
    descriptor timer_{timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK), "timerfd_create"};
    descriptor wakes_{eventfd(0, EFD_NONBLOCK), "eventfd"};
    in_port_t port_ = 0;

    std::map<std::string, std::int64_t> sums_;
    int summed_ = 0;
    int calls_ = 0;
    // A write of another thread would have the loop come back early; this program has none.
    std::shared_ptr<tidefall::polled_runtime> polled_ = tidefall::make_polled_runtime([this] {
        std::uint64_t const one = 1;
        static_cast<void>(write(wakes_, &one, sizeof(one)));
    });
    tidefall::queue<measurement> measurements_{{.name = "measurements",
                                                .partitions = 1,
                                                .processing_interval = 20ms,
                                                .processing_batch_size = 1'000,
                                                .drain_threshold = 500,
                                                .runtime = polled_},
                                               [this](std::span<measurement const> batch) { add(batch); }};
};

}  // namespace

int main() try {
    event_loop loop;
    auto const child = fork();
    require(child >= 0, "fork");
    if (child == 0) {
        send_to(loop.port());
        _exit(0);
    }
    loop.run();
    int status = 0;
    require(waitpid(child, &status, 0) == child, "waitpid");
    for (auto const& [name, sum] : loop.sums()) std::printf("%s %lld\n", name.c_str(), static_cast<long long>(sum));
    std::printf("%d datagrams in %d calls, on one thread\n", datagrams, loop.calls());
    bool const is_right = loop.sums().at("even") == 24'995'000 && loop.sums().at("odd") == 25'000'000;
    return is_right && status == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
} catch (std::exception const& error) {
    std::fprintf(stderr, "10_event_loop: %s\n", error.what());
    return EXIT_FAILURE;
}
