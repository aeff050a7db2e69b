/* columns MODEL FILE.mli.nc [cpu|cuda]: print the tendencies and fluxes of every column of a raw ClimSim file, one a line. */
#include <cstdio>
#include <exception>

#include "climsim.h"
#include "emulator.h"

int main(int argc, char **argv) try {
  if (argc < 3) {
    std::fprintf(stderr, "usage: %s MODEL FILE.mli.nc [cpu|cuda]\n", argv[0]);
    return 2;
  }
  emulator *net = emulator_load(argv[1], argc > 3 ? argv[3] : "cpu");
  if (!net) throw std::runtime_error(emulator_error());
  size_t ncol;
  const auto state = climsim::read_state(argv[2], &ncol);
  std::vector<double> result(ncol * 368);
  if (emulator_run(net, state.data(), result.data(), static_cast<int64_t>(ncol), 8, 0))
    throw std::runtime_error(emulator_error());
  for (size_t i = 0; i < result.size(); ++i) std::printf("%.17g%c", result[i], (i + 1) % 368 ? ' ' : '\n');
  emulator_free(net);
  return 0;
} catch (const std::exception &error) {
  std::fprintf(stderr, "error: %s\n", error.what());
  return 1;
}
