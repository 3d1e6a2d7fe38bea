"""What looks after services made by this template: it reads their repositories, and runs nothing of them."""
