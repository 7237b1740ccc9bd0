with

source as (

    select
        *,
        {{ load_rank('id', '_landed_at') }} as load_rank
    from {{ stripe('coupon') }}

),

renamed as (

    select
        ---------- ids
        id as coupon_id,
        ---------- attributes
        {{ decimal_number('percent_off', 9, 4) }} as percent_off,
        {{ minor_units('amount_off') }} as amount_off_minor,
        lower(currency) as currency,
        lower(duration) as duration,
        {{ whole_number('duration_in_months') }} as duration_in_months,
        ---------- timestamps
        {{ utc_timestamp('created') }} as created_at,
        {{ utc_timestamp('_landed_at') }} as loaded_at
    from source
    where
        load_rank = 1
        and id is not null

)

select * from renamed
