//! The parts of the page about a run that show what its network sees.

use maud::{Markup, html};

use super::{parts::class, pictures};
use crate::{
    format,
    run::record::{FeatureMaps, Filters, LayerMaps, Mistake},
};

/// At most this many are shown.
const MISTAKES: usize = 48;
const FILTERS: usize = 64;

/// The mistakes, each with the place where the network sees the class that it predicts.
pub fn mistakes(mistakes: &[Mistake], classes: &[String]) -> Markup {
    html! {
        h3 { "Mistakes with the highest confidence" }
        @if mistakes.iter().any(|mistake| mistake.attention.is_some()) {
            p {
                "The second picture shows where the network sees the class that it predicts \
                 (Grad-CAM): the more orange, the more the place speaks for this class."
            }
        }
        ul.mistakes {
            @for mistake in mistakes.iter().take(MISTAKES) { li { (picture(mistake, classes)) } }
        }
    }
}

fn picture(mistake: &Mistake, classes: &[String]) -> Markup {
    let label = class(classes, mistake.label);
    let predicted = class(classes, mistake.predicted);
    html! {
        figure {
            div.pictures {
                @if let Some(address) = pictures::mistake(mistake) {
                    img src=(address) width="28" height="28"
                        alt=(format!("Test image {}, {label}", mistake.index));
                }
                @if let Some(address) = pictures::attention(mistake) {
                    img src=(address) width="28" height="28"
                        alt=(format!("Where the network sees {predicted}"));
                }
            }
            figcaption {
                (label) " predicted as " (predicted) ", " (format::round_percent(mistake.probability))
            }
        }
    }
}

/// The feature maps of an image, layer by layer.
pub fn feature_maps(maps: &FeatureMaps, classes: &[String]) -> Markup {
    html! {
        h3 { "Feature maps" }
        p {
            "The outputs of some layers for test image " (maps.index) ", "
            (class(classes, maps.label)) ", after the activation. Black is the lowest value of a \
             layer, white the highest."
        }
        div.maps {
            @if let Some(address) = pictures::picture(&maps.image) {
                figure {
                    div { img src=(address) width="28" height="28" alt=""; }
                    figcaption { "The image" }
                }
            }
            @for layer in &maps.layers { (layer_maps(layer)) }
        }
    }
}

fn layer_maps(layer: &LayerMaps) -> Markup {
    let LayerMaps { layer: name, channels, size: [height, width], maps } = layer;
    let pictures: Vec<_> = maps.iter().filter_map(pictures::picture).collect();
    html! {
        figure {
            div role="img" aria-label=(format!("{} feature maps of {name}", pictures.len())) {
                @for picture in &pictures { img src=(picture) alt=""; }
            }
            figcaption {
                code { (name) } ", " (height) " × " (width)
                @if pictures.len() < *channels {
                    ", the first " (pictures.len()) " of " (channels) " channels"
                }
            }
        }
    }
}

/// The filters of the first convolution.
pub fn first_layer(filters: &Filters) -> Markup {
    let pictures = pictures::filters(filters, FILTERS);
    let [count, channels, height, width] = filters.shape;
    let shown = if pictures.len() < count {
        format!("The first {} of {count} filters", pictures.len())
    } else {
        format!("The {count} filters")
    };
    let colors = match channels {
        1 => "",
        3 => " Its three channels are red, green and blue.",
        _ => " Shown is the mean of its channels.",
    };
    html! {
        figure {
            div.filters role="img" aria-label=(format!("{shown} of the first convolution")) {
                @for picture in &pictures {
                    img src=(picture) width=(width) height=(height) alt="";
                }
            }
            figcaption {
                (shown) " of the first convolution, " (height) " × " (width) " weights each. Black \
                 is a filter's lowest weight, white its highest." (colors)
            }
        }
    }
}
