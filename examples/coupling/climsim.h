/* Columns of a raw ClimSim .mli file in the order of --layout flat. */
#ifndef PODIUM_CLIMSIM_H
#define PODIUM_CLIMSIM_H

#include <stdexcept>
#include <string>
#include <vector>

#include <netcdf.h>

namespace climsim {

constexpr size_t kLevels = 60;
inline const std::vector<std::string> kProfiles = {"state_t", "state_q0001", "state_q0002", "state_q0003", "state_u",
                                                   "state_v", "pbuf_ozone",  "pbuf_CH4",    "pbuf_N2O"};
inline const std::vector<std::string> kScalars = {
    "state_ps",     "pbuf_SOLIN",   "pbuf_LHFLX",      "pbuf_SHFLX",      "pbuf_TAUX",      "pbuf_TAUY",
    "pbuf_COSZRS",  "cam_in_ALDIF", "cam_in_ALDIR",    "cam_in_ASDIF",    "cam_in_ASDIR",   "cam_in_LWUP",
    "cam_in_ICEFRAC", "cam_in_LANDFRAC", "cam_in_OCNFRAC", "cam_in_SNOWHICE", "cam_in_SNOWHLAND"};

inline void check(int status, const std::string &what) {
  if (status != NC_NOERR) throw std::runtime_error(what + ": " + nc_strerror(status));
}

/* state[ncol][557]; a profile lies level by level, (lev, ncol), in the file. */
inline std::vector<double> read_state(const std::string &path, size_t *ncol) {
  int file, dimension;
  check(nc_open(path.c_str(), NC_NOWRITE, &file), path);
  check(nc_inq_dimid(file, "ncol", &dimension), path + ": ncol");
  check(nc_inq_dimlen(file, dimension, ncol), path + ": ncol");
  const size_t width = kProfiles.size() * kLevels + kScalars.size();
  std::vector<double> state(*ncol * width), values(kLevels * *ncol);
  size_t place = 0;
  const auto put = [&](const std::string &name, size_t levels) {
    int variable;
    check(nc_inq_varid(file, name.c_str(), &variable), path + ": " + name);
    check(nc_get_var_double(file, variable, values.data()), path + ": " + name);
    for (size_t level = 0; level < levels; ++level, ++place)
      for (size_t column = 0; column < *ncol; ++column) state[column * width + place] = values[level * *ncol + column];
  };
  for (const auto &name : kProfiles) put(name, kLevels);
  for (const auto &name : kScalars) put(name, 1);
  nc_close(file);
  return state;
}

}  // namespace climsim
#endif
