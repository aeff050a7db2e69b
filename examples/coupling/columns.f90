! columns_f MODEL FILE.mli.nc: print the tendencies and fluxes of every column of a raw ClimSim file, one a line.
program columns
  use, intrinsic :: iso_c_binding, only: c_double
  use emulator, only: emulator_t
  use netcdf
  implicit none

  integer, parameter :: levels = 60
  character(16), parameter :: profiles(9) = [character(16) :: &
    "state_t", "state_q0001", "state_q0002", "state_q0003", "state_u", "state_v", "pbuf_ozone", "pbuf_CH4", "pbuf_N2O"]
  character(16), parameter :: scalars(17) = [character(16) :: &
    "state_ps", "pbuf_SOLIN", "pbuf_LHFLX", "pbuf_SHFLX", "pbuf_TAUX", "pbuf_TAUY", "pbuf_COSZRS", "cam_in_ALDIF", &
    "cam_in_ALDIR", "cam_in_ASDIF", "cam_in_ASDIR", "cam_in_LWUP", "cam_in_ICEFRAC", "cam_in_LANDFRAC", &
    "cam_in_OCNFRAC", "cam_in_SNOWHICE", "cam_in_SNOWHLAND"]
  type(emulator_t) :: net
  character(4096) :: model, path
  real(c_double), allocatable :: state(:, :), result(:, :)
  integer :: file, id, ncol, i, place

  if (command_argument_count() < 2) error stop "usage: columns_f MODEL FILE.mli.nc"
  call get_command_argument(1, model)
  call get_command_argument(2, path)
  call check(nf90_open(trim(path), nf90_nowrite, file))
  call check(nf90_inq_dimid(file, "ncol", id))
  call check(nf90_inquire_dimension(file, id, len=ncol))
  allocate (state(ncol, size(profiles)*levels + size(scalars)), result(ncol, 368))
  do i = 1, size(profiles)
    place = (i - 1)*levels
    call check(nf90_inq_varid(file, trim(profiles(i)), id))
    call check(nf90_get_var(file, id, state(:, place + 1:place + levels)))
  end do
  do i = 1, size(scalars)
    call check(nf90_inq_varid(file, trim(scalars(i)), id))
    call check(nf90_get_var(file, id, state(:, size(profiles)*levels + i)))
  end do
  call check(nf90_close(file))

  call net%load(model, "cpu")
  call net%run(state, result)
  call net%free()
  do i = 1, ncol
    write (*, "(368(es26.17e3))") result(i, :)
  end do

contains

  subroutine check(status)
    integer, intent(in) :: status
    if (status == nf90_noerr) return
    write (0, "(*(a))") "error: ", trim(path), ": ", trim(nf90_strerror(status))
    stop 1, quiet=.true.
  end subroutine check
end program columns
