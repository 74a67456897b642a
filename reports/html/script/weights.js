// Sliders for the weights of the total, which rank the candidates anew.
