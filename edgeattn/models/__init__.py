"""Where a teacher comes from, and how a student is made, saved and reloaded."""

from edgeattn.models.new import new_teacher
from edgeattn.models.student import load_student, save_student
from edgeattn.models.teacher import fetch_teacher, load_teacher

__all__ = ["fetch_teacher", "load_student", "load_teacher", "new_teacher", "save_student"]
