with

source as (

    select
        *,
        {{ load_rank('id', '_landed_at', ties=['currency', 'unit_amount', 'recurring_interval']) }} as load_rank
    from {{ stripe('price') }}

),

renamed as (

    select
        ---------- ids
        id as price_id,
        product_id,
        ---------- attributes
        lower(currency) as currency,
        {{ minor_units('unit_amount') }} as unit_amount_minor,
        lower(recurring_interval) as billing_interval,
        {{ whole_number('recurring_interval_count') }} as billing_interval_count,
        {{ utc_timestamp('_landed_at') }} as loaded_at
    from source
    where
        load_rank = 1
        and not _is_deleted
        and id is not null

)

select * from renamed
