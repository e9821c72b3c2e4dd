// SPDX-License-Identifier: MIT
#include "web.hpp"

#include "page.hpp"

#include <httplib.h>
#include <sys/socket.h>
#include <nlohmann/json.hpp>

#include <array>
#include <atomic>
#include <charconv>
#include <cstddef>
#include <deque>
#include <map>
#include <memory>
#include <set>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>

namespace statsd {
namespace {

using nlohmann::json;

constexpr std::size_t most_shown = 60;

/// The page's numbers, of the series whose name or tags have `filter` in them.
std::string data_text(settings const& how, board const& shown, monitor const& seen, std::string const& filter) {
    auto const server = seen.view();
    json buffers = json::array();
    for (auto const& [name, one] : server.buffers) {
        auto const& now = one.now;
        buffers.push_back({{"name", name},
                           {"accepted", now.accepted},
                           {"coalesced", now.coalesced},
                           {"processed", now.processed},
                           {"waiting", now.pending},
                           {"in_flight", now.in_flight},
                           {"retries", one.retries},
                           {"refused", now.refused},
                           {"lost", now.failed + now.dropped},
                           {"points", one.points}});
    }
    json all = json::array();
    std::size_t matching = 0;
    auto const kinds = shown.all();
    for (std::size_t what = 0; what < kinds.size(); ++what) {
        for (auto const& [key, one] : kinds[what]) {
            if (key.find(filter) == std::string::npos || ++matching > most_shown) continue;
            series_name const name(key);
            all.push_back({{"kind", kind_names[what]},
                           {"name", name.name},
                           {"tags", name.tags},
                           {"value", one.value},
                           {"points", one.points}});
        }
    }
    json const result = {{"window", how.window.count()},
                         {"packets", server.counts.packets},
                         {"values", server.counts.values},
                         {"malformed", server.counts.malformed},
                         {"kernel_dropped", server.counts.kernel_dropped},
                         {"error", server.error},
                         {"socket", server.points},
                         {"buffers", std::move(buffers)},
                         {"matching", matching},
                         {"series", std::move(all)}};
    // A name may be no UTF-8.
    return result.dump(-1, ' ', false, json::error_handler_t::replace);
}

/// Prometheus' text format. The series' names are a label: as names of metrics two of them might be the same.
class prometheus_text {
public:
    void family(char const* name, char const* type) {
        name_ = name;
        text_ += std::string("# TYPE ") + name + ' ' + type + '\n';
    }

    void sample(std::string_view key, double value, char const* suffix = "", std::string_view quantile = {}) {
        series_name const series(key);
        ((text_ += name_) += suffix) += "{name=\"";
        append_escaped(series.name);
        text_ += '"';
        std::set<std::string> used = {"name", "quantile"};
        for (auto rest = series.tags; !rest.empty();) {
            auto tag = detail::take(rest, ',');
            auto label = label_of(detail::take(tag, ':'));
            while (!used.insert(label).second) label += '_';
            ((text_ += ',') += label) += "=\"";
            append_escaped(tag);
            text_ += '"';
        }
        if (!quantile.empty()) ((text_ += ",quantile=\"") += quantile) += '"';
        char number[64];
        text_.append("} ").append(number, std::to_chars(number, number + sizeof number, value).ptr).append("\n");
    }

    [[nodiscard]] std::string const& text() const { return text_; }

private:
    static std::string label_of(std::string_view tag) {
        std::string label;
        for (char const c : tag) {
            bool const is_letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
            bool const is_digit = c >= '0' && c <= '9';
            label += is_letter || (is_digit && !label.empty()) ? c : '_';
        }
        while (label.starts_with("__")) label.erase(0, 1);  // such names are Prometheus' own
        return label.empty() ? "tag" : label;
    }

    void append_escaped(std::string_view text) {
        for (char const c : text) {
            if (c == '\\' || c == '"') text_ += '\\';
            text_ += static_cast<unsigned char>(c) < 0x20 || static_cast<unsigned char>(c) > 0x7E ? '?' : c;
        }
    }

    std::string name_ = {};
    std::string text_ = {};
};

std::string metrics_text(board const& shown, monitor const& seen) {
    auto const kinds = shown.all();
    prometheus_text text;
    text.family("statsd_total", "counter");
    for (auto const& [key, one] : kinds[0]) text.sample(key, one.value);
    text.family("statsd_value", "gauge");
    for (auto const& [key, one] : kinds[1]) text.sample(key, one.value);
    text.family("statsd_timer", "summary");
    for (auto const& [key, one] : kinds[2]) {
        constexpr std::string_view quantiles[] = {"0.5", "0.9", "0.95", "0.99"};
        for (std::size_t i = 0; i < std::size(quantiles); ++i) text.sample(key, one.ranks[i], "", quantiles[i]);
        text.sample(key, one.sum, "_sum");
        text.sample(key, one.value, "_count");
    }
    text.family("statsd_set_size", "gauge");
    for (auto const& [key, one] : kinds[3]) text.sample(key, one.value);
    auto const counts = seen.counts();
    auto const plain = [](char const* name, std::uint64_t value) {
        return std::string("# TYPE ") + name + " counter\n" + name + ' ' + std::to_string(value) + '\n';
    };
    return text.text() + plain("statsd_packets_total", counts.packets) + plain("statsd_values_total", counts.values) +
           plain("statsd_malformed_lines_total", counts.malformed) +
           plain("statsd_kernel_dropped_packets_total", counts.kernel_dropped) + seen.prometheus();
}

}  // namespace

struct web::parts {
    httplib::Server server = {};
    int port = 0;
    std::atomic<bool> ended = false;
    std::thread thread = {};
};

web::web(settings const& how, board const& shown, monitor const& seen) : parts_(std::make_unique<parts>()) {
    auto& server = parts_->server;
    // The library shares its port with whoever asks the same way: a port that is taken is to be an error.
    server.set_socket_options([](socket_t socket) {
        int const yes = 1;
        ::setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    });
    server.set_keep_alive_timeout(1);  // seconds; the end waits for open connections
    server.Get("/", [](auto const&, httplib::Response& to) { to.set_content(page, "text/html; charset=utf-8"); });
    server.Get("/data.json", [&](httplib::Request const& request, httplib::Response& to) {
        to.set_content(data_text(how, shown, seen, request.get_param_value("filter")), "application/json");
    });
    server.Get("/metrics", [&](auto const&, httplib::Response& to) {
        to.set_content(metrics_text(shown, seen), tidefall::metrics_telemetry::content_type);
    });
    constexpr char const* loopback = "127.0.0.1";
    bool const any = how.http_port == 0;
    parts_->port = any ? server.bind_to_any_port(loopback) : how.http_port;
    if (any ? parts_->port <= 0 : !server.bind_to_port(loopback, how.http_port)) {
        throw std::runtime_error("cannot listen on " + std::string(loopback) + ":" + std::to_string(how.http_port));
    }
    parts_->thread = std::thread([this] {
        parts_->server.listen_after_bind();
        parts_->ended = true;
    });
    while (!server.is_running() && !parts_->ended) std::this_thread::yield();  // a stop before that would be lost
}

web::~web() {
    parts_->server.stop();
    parts_->thread.join();
}

int web::port() const {
    return parts_->port;
}

}  // namespace statsd
