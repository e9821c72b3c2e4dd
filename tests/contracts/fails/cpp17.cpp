// must fail with -std=c++17: tidefall needs C++20: compile with -std=c++20
#include <tidefall/tidefall.hpp>
