"""What people read: report.html and the table on the terminal. The JSON documents are what programs read."""
