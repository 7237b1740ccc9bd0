-- The days that this build scores: from the first that is not published under the present rules to the clock's own.
{% set days_at_most = 3660 %}
with

spells as (

    select * from {{ ref('int_customer_spells') }}

),

numbers as (

    {{ dbt.generate_series(days_at_most) }}

),

days as (

    select {{ days_before(as_of_date(), '(cast(generated_number as integer) - 1)') }} as as_of_date
    from numbers

),

first_live as (

    select min(cast(live_from as date)) as first_date
    from spells

),

final as (

    select days.as_of_date
    from days
    cross join first_live
    where days.as_of_date >= coalesce({{ first_unpublished_day() }}, first_live.first_date)

)

select * from final
