{# A share, never a division by zero and never an integer division. #}
{% macro ratio(numerator, denominator) -%}
    cast({{ numerator }} as double precision) / nullif({{ denominator }}, 0)
{%- endmacro %}

{# Amount in a currency's minor units (Stripe) to its major unit: yen and other zero-decimal currencies have none. #}
{% macro major_units(amount, minor_digits) -%}
    cast({{ amount }} / power(cast(10 as decimal(18, 0)), {{ minor_digits }}) as decimal(18, 2))
{%- endmacro %}

{#
    A number at a fixed scale, the same on every warehouse. A double that stands for 0.115 may lie just below it, so it
    is read to six decimals first; what then lies halfway goes away from zero.
#}
{% macro rounded(number, precision, scale) -%}
    cast(cast({{ number }} as decimal(38, 6)) as decimal({{ precision }}, {{ scale }}))
{%- endmacro %}
