with

source as (

    select
        *,
        {{ load_rank('id', '_landed_at') }} as load_rank
    from {{ stripe('product') }}

),

renamed as (

    select
        ---------- ids
        id as product_id,
        ---------- attributes
        name as plan_name,
        {{ utc_timestamp('_landed_at') }} as loaded_at
    from source
    where
        load_rank = 1
        and not _is_deleted
        and id is not null

)

select * from renamed
