! emulator.h for Fortran: call net%load(file, device), net%run(state, result), net%free().
module emulator
  use, intrinsic :: iso_c_binding
  implicit none
  private

  type, public :: emulator_t
    private
    type(c_ptr) :: handle = c_null_ptr
  contains
    procedure :: load
    procedure :: free => free_
    procedure, private :: run_double, run_float
    generic :: run => run_double, run_float
  end type emulator_t

  interface
    function emulator_load(file, device) bind(c)
      import :: c_ptr, c_char
      character(kind=c_char), intent(in) :: file(*), device(*)
      type(c_ptr) :: emulator_load
    end function emulator_load

    function emulator_run(net, state, result, ncol, bytes, column_major) bind(c)
      import :: c_ptr, c_int64_t, c_int
      type(c_ptr), value :: net, state, result
      integer(c_int64_t), value :: ncol
      integer(c_int), value :: bytes, column_major
      integer(c_int) :: emulator_run
    end function emulator_run

    subroutine emulator_free(net) bind(c)
      import :: c_ptr
      type(c_ptr), value :: net
    end subroutine emulator_free

    function emulator_error() bind(c)
      import :: c_ptr
      type(c_ptr) :: emulator_error
    end function emulator_error

    function strlen(text) bind(c)
      import :: c_ptr, c_size_t
      type(c_ptr), value :: text
      integer(c_size_t) :: strlen
    end function strlen
  end interface

contains

  ! device is "cpu" or "cuda"
  subroutine load(self, file, device)
    class(emulator_t), intent(inout) :: self
    character(*), intent(in) :: file, device
    self%handle = emulator_load(trim(file)//c_null_char, trim(device)//c_null_char)
    if (.not. c_associated(self%handle)) call stop_with_error()
  end subroutine load

  ! state(ncol, 557) to result(ncol, 368), for a file of --layout flat
  subroutine run_double(self, state, result)
    class(emulator_t), intent(in) :: self
    real(c_double), intent(in), contiguous, target :: state(:, :)
    real(c_double), intent(out), contiguous, target :: result(:, :)
    call run_any(self, c_loc(state), c_loc(result), shape(state), shape(result), 8)
  end subroutine run_double

  ! the same for a file of --layout e3sm
  subroutine run_float(self, state, result)
    class(emulator_t), intent(in) :: self
    real(c_float), intent(in), contiguous, target :: state(:, :)
    real(c_float), intent(out), contiguous, target :: result(:, :)
    call run_any(self, c_loc(state), c_loc(result), shape(state), shape(result), 4)
  end subroutine run_float

  subroutine run_any(self, state, result, of_state, of_result, bytes)
    class(emulator_t), intent(in) :: self
    type(c_ptr), intent(in) :: state, result
    integer, intent(in) :: of_state(2), of_result(2), bytes
    if (of_state(2) /= 557 .or. of_result(2) /= 368 .or. of_state(1) /= of_result(1)) &
      error stop "emulator: state is (ncol, 557) and result (ncol, 368)"
    if (emulator_run(self%handle, state, result, int(of_state(1), c_int64_t), int(bytes, c_int), 1_c_int) /= 0) &
      call stop_with_error()
  end subroutine run_any

  subroutine free_(self)
    class(emulator_t), intent(inout) :: self
    if (c_associated(self%handle)) call emulator_free(self%handle)
    self%handle = c_null_ptr
  end subroutine free_

  subroutine stop_with_error()
    type(c_ptr) :: text
    character(kind=c_char), pointer :: letters(:)
    text = emulator_error()
    call c_f_pointer(text, letters, [strlen(text)])
    write (0, "(*(a))") "error: ", letters
    stop 1, quiet=.true.
  end subroutine stop_with_error
end module emulator
