-- The days that are scored again in every build, the clock's own day last.
with

numbers as (

    {{ dbt.generate_series(var('health_history_days')) }}

),

final as (

    select {{ days_before(as_of_date(), '(cast(generated_number as integer) - 1)') }} as as_of_date
    from numbers

)

select * from final
